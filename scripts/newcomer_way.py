"""The files that a newcomer reads from a row to an update, found by following one: the tables of docs/design.md.

    python scripts/newcomer_way.py           # measures, and writes the tables into docs/design.md
    python scripts/newcomer_way.py --json    # measures, and prints what was found

`scripts/one_update.py` calls one function after another until there are new weights. `STATIONS` are the functions where
the value becomes another: a row text, text token ids, and so on. A file is on the way if one of its functions is a
station or calls one, on the call stack between that script and the station; the script counts too. What else runs is
called and need not be read: it is counted by package, in a second list. The third has the files on the stack between
`DPOTrainer` and the stations, and the checkpoint, when it trains on the same rows: its weights must be the same bits.
"""

import argparse
import json
import sys
import tempfile
import threading
from collections.abc import Callable, Collection
from functools import cache, partial
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import jax
import numpy as np
import one_update

import easydel as ed
import easydel.trainers.dpo  # what is imported while a run is followed would be taken for a part of it
from easydel import quickstart
from easydel.data.pack import sizes
from easydel.data.prepare import prepare
from easydel.data.shapes import one_row
from easydel.data.source import load_rows
from easydel.scripts.loading import load_tokenizer

SOURCE = Path(ed.__file__).parent
PAGE = Path(__file__).parents[1] / "docs" / "design.md"
BEGIN, END = "<!-- written by scripts/newcomer_way.py -->", "<!-- up to here -->"
FILES, LINES = 20, 3000  # of the way, at most

# Module and function -> what it makes, in the order of the way.
STATIONS = {
    ("data/format.py", "read_row"): "a row, whatever its columns are called, as prompt, chosen and rejected",
    ("data/render.py", "to_preference"): "these as text, a conversation by the chat template",
    ("data/tokenize.py", "tokenize"): "token ids",
    ("data/pair.py", "truncate"): "a pair, cut to length",
    ("data/pack.py", "pack"): "a packed batch",
    ("logprobs.py", "completion_logprobs"): "log-probabilities of chosen and rejected",
    ("ops/head.py", "token_values"): "those of single tokens: hidden states meet the LM head",
    ("ops/fused_head.py", "_forward"): "the same with the loss and its gradient",
    (
        "trainers/objective.py",
        "Objective.__call__",
    ): "the loss of each pair, with the settings that it asks for",
    ("losses/margin.py", "sigmoid_loss"): "the same, as maths",
    ("trainers/train_state.py", "initial_state"): "what an update changes: weights, moments, step, key",
    ("trainers/step_functions.py", "make_train_step.<locals>.train_step"): "gradient, norm and the update",
    ("trainers/optimizer.py", "_in_float32.<locals>.update"): "what is added to the weights",
}
CHECKPOINT = ("trainers/record/checkpoint.py", "Checkpointer.save")  # where the way of a whole run ends
SCRIPT = "scripts/one_update.py"


class Followed(NamedTuple):
    """Files below `src/easydel`, by name."""

    way: list[str]  # those on a stack up to a station, as they were met
    others: list[str]  # those of other functions that ran


def follow(run: Callable[[], Any], stations: Collection[tuple[str, str]] = STATIONS.keys()) -> tuple[Any, Followed]:
    """Returns what a function returns, and the files whose functions it called; in threads that it started too.

    Raises:
        RuntimeError: a station was not reached: it has been renamed or is no longer on the way.
    """
    ran: dict[str, None] = {}
    way: dict[str, None] = {}
    reached = set()

    def note(frame: FrameType, event: str, _: object) -> None:
        if event != "call" or (name := _below(frame.f_code.co_filename)) is None:
            return
        ran[name] = None
        if (station := (name, frame.f_code.co_qualname)) in stations and station not in reached:
            reached.add(station)
            way.update(dict.fromkeys(reversed(_stack(frame))))

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        returned = run()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    if missed := set(stations) - reached:
        raise RuntimeError(f"not reached: {sorted(missed)}. Mend STATIONS in scripts/newcomer_way.py.")
    return returned, Followed(list(way), [name for name in ran if name not in way])


@cache
def _below(file: str) -> str | None:
    """The name of a file below `src/easydel`, None for another; asked at every call there is."""
    path = Path(file)
    return path.relative_to(SOURCE).as_posix() if path.suffix == ".py" and path.is_relative_to(SOURCE) else None


def _stack(frame: FrameType | None) -> list[str]:
    """The files of a frame and of those that called it, innermost first."""
    files = []
    while frame is not None:
        if (name := _below(frame.f_code.co_filename)) is not None:
            files.append(name)
        frame = frame.f_back
    return files


def lines_of(file: Path) -> int:
    return file.read_text(encoding="utf-8").count("\n")


def measure() -> dict[str, Any]:
    """Returns the lines of the files on the way, beside it, and of a run alone; and whether both gave equal bits."""
    folder, rows = quickstart.model_folder(), load_rows(str(quickstart.train_file()))[:16]
    model = ed.AutoEasyDeLModelForCausalLM.from_pretrained(folder, sharding_axis_dims=(1, 1, 1, 1, 1))
    tokenizer = load_tokenizer(str(folder), None)
    with tempfile.TemporaryDirectory() as scratch:
        config = ed.DPOConfig(
            **one_update.SETTINGS,
            save_directory=scratch,
            max_training_steps=1,
            shuffle_train_dataset=False,
            save_steps=1,
            do_last_save=False,
            progress_bar_type="none",
        )

        def run() -> ed.DPOTrainer:
            trainer = ed.DPOTrainer(arguments=config, model=model, processing_class=tokenizer, train_dataset=rows)
            trainer.train()
            return trainer

        trainer, of_run = follow(run, [*STATIONS, CHECKPOINT])
        jax.clear_caches()  # what is compiled already would not be followed
        shape = one_row([[sizes(prepare(rows, tokenizer).pairs)]], multiple=model.decoder.chunk)  # as in a run on CPU
        values, of_update = follow(partial(one_update.one_update, rows, model, tokenizer, config, shape=shape))
    equal = jax.tree.map(np.array_equal, values.state.params, trainer.model.params)
    tables = {
        "way": of_update.way,
        "beside": of_update.others,
        "run": [name for name in of_run.way if name not in of_update.way],
    }
    counted = {title: {name: lines_of(SOURCE / name) for name in names} for title, names in tables.items()}
    counted["way"] = {SCRIPT: lines_of(PAGE.parents[1] / SCRIPT), **counted["way"]}
    return {**counted, "equal": all(map(bool, jax.tree.leaves(equal)))}


def written(found: dict[str, Any]) -> str:
    """Returns the tables of docs/design.md."""
    makes = {SCRIPT: "calls the others, one after another"} | {name: words for (name, _), words in STATIONS.items()}
    way, beside, run = (found[title] for title in ("way", "beside", "run"))
    order = {name: at for at, name in enumerate(makes)}
    rows = [
        f"| `{name}` | {way[name]} | {makes.get(name, 'calls the next')} |"
        for name in sorted(way, key=lambda name: order.get(name, 0))
    ]
    packages: dict[str, list[int]] = {}
    for name, lines in beside.items():
        packages.setdefault(name.partition("/")[0].removesuffix(".py"), []).append(lines)
    called = ", ".join(f"`{name}` {len(each)} ({sum(each):,})" for name, each in sorted(packages.items()))
    return "\n".join(
        [
            f"{len(way)} files, {sum(way.values()):,} lines:\n",
            "| file | lines | makes |",
            "|---|---|---|",
            *rows,
            f"\nThey call functions of {len(beside)} other files, which need not be read for it. By package, "
            f"with their lines: {called}.\n",
            f"In a run of `DPOTrainer`, {len(run)} files more ({sum(run.values()):,} lines) call these and "
            "write a checkpoint: " + ", ".join(f"`{name}` ({lines})" for name, lines in run.items()) + ".",
        ]
    )


def replaced(page: str, tables: str) -> str:
    """Returns the page with the tables between its two marks."""
    before, _, rest = page.partition(BEGIN)
    return f"{before}{BEGIN}\n\n{tables}\n\n{END}{rest.partition(END)[2]}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    as_json = parser.parse_args().json
    found = measure()
    if as_json:
        print(json.dumps(found))
        return 0
    PAGE.write_text(replaced(PAGE.read_text(encoding="utf-8"), written(found)), encoding="utf-8")
    print(written(found))
    lines = sum(found["way"].values())
    print(f"\n{len(found['way'])} of {FILES} files, {lines} of {LINES} lines; equal bits: {found['equal']}")
    return 0 if len(found["way"]) <= FILES and lines <= LINES and found["equal"] else 1


if __name__ == "__main__":
    sys.exit(main())
