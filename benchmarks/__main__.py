"""Trains the same pairs with this program, TRL and EasyDeL in turns, and writes what came out.

    python -m benchmarks --models stories260k,bench-7m --systems ours,trl,easydel --rounds 3

Ends with status 1 when losses differ although the tokens are the same.
"""

import argparse
import contextlib
import dataclasses
import datetime
import json
import math
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import safe_open

from benchmarks.environments import HERE, versions
from benchmarks.flops import layout_of, layout_table, read_config
from benchmarks.machine import commit, machine_facts
from benchmarks.models import NAMES, model_folder, model_rows
from benchmarks.pairs import TooFewPairsError, cut_pairs, first_rows, id_rows, tokens_per_batch, write_rows
from benchmarks.report import Agreement, Figures, agreement, figures, markdown, same_tokens
from benchmarks.systems import SYSTEMS, Run, Settings, make_worker, runs
from benchmarks.tables import BUILD, DATA
from benchmarks.turns import Worker, WorkerError
from easydel import quickstart
from easydel.data.pair import Pair

EPOCH_STEPS = 64


class Plan(NamedTuple):
    """What the options ask for."""

    models: tuple[str, ...]
    runs: list[Run]
    data: Path
    settings: Settings
    rounds: int
    steps_per_turn: int
    peak: float | None
    build: Path

    @property
    def steps(self) -> int:
        """Steps of each run: one to start with, and those of the rounds."""
        return 1 + self.rounds * self.steps_per_turn


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the benchmark and returns the exit status."""
    options = parse(sys.argv[1:] if argv is None else argv)
    plan = make_plan(options)
    out = options.out or (HERE / "results" if not options.quick else plan.build / "quick")
    result: dict[str, Any] = {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "command": " ".join(["python -m benchmarks", *command_options(options)]),
        "commit": commit(),
        "machine": machine_facts(),
        "data": plan.data.name,
        "settings": dataclasses.asdict(plan.settings),
        "steps": plan.steps,
        "steps_per_turn": plan.steps_per_turn,
        "versions": {name: versions(name) for name in dict.fromkeys(run.environment for run in plan.runs)},
        "models": {},
    }
    for name in plan.models:
        try:
            result["models"][name] = measure(name, plan)
        except (FileNotFoundError, TooFewPairsError, WorkerError) as error:
            print(f"error: {name}: {error}", file=sys.stderr)
            return 2
        write(out, result)  # after each model, so that an error in a later one loses nothing
    print("\n" + markdown(result))
    verdicts = [Agreement(**verdict) for model in result["models"].values() for verdict in model["agreement"]]
    if plan.settings.device == "gpu":  # bfloat16 alone makes programs differ
        return 0
    return int(any(not verdict.agrees and verdict.same_tokens == 1 for verdict in verdicts))


def measure(name: str, plan: Plan) -> dict[str, Any]:
    """Returns what came out of all runs on one model, as plain values."""
    from transformers import AutoTokenizer

    size = plan.settings.batch_size
    model = model_folder(name, plan.data, plan.build)
    data = model_rows(name, plan.data, plan.build, (EPOCH_STEPS + plan.steps) * size, plan.settings.max_length)
    tokenizer, config = AutoTokenizer.from_pretrained(model), read_config(model)
    rows = first_rows(data, tokenizer, plan.steps * size, plan.settings.max_length)
    # Ours chooses its row lengths for an epoch. One of a few steps is not what it is used for.
    try:
        epoch = first_rows(data, tokenizer, EPOCH_STEPS * size, plan.settings.max_length)
    except TooFewPairsError:
        epoch = rows
    pairs = {run: cut_pairs(rows, tokenizer, run.limits) for run in plan.runs}
    folder = plan.build / "runs" / name
    shutil.rmtree(folder, ignore_errors=True)
    folders = {run: folder / f"{at}-{run.system}" for at, run in enumerate(plan.runs)}
    workers = {}
    for run in plan.runs:
        file = folders[run] / "rows.jsonl"
        write_rows(file, id_rows(pairs[run]) if run.takes_ids else epoch if run.system == "ours" else rows)
        workers[run] = make_worker(run, model, file, folders[run], plan.settings, plan.steps)
    take_turns(name, list(workers.values()), plan)
    done = {
        run: figures(run, worker.steps, memory_of(worker, plan), size, tokens_per_batch(pairs[run], size))
        for run, worker in workers.items()
    }
    layouts = {
        run.title: layout_of(run.system, config, pairs[run], run.limits, size, cut_pairs(epoch, tokenizer, run.limits))
        for run in plan.runs
    }
    rates = {run.title: figure.pairs_per_second for run, figure in done.items()}
    return {
        "weights": count_weights(model),
        "runs": {run.title: dataclasses.asdict(figure) for run, figure in done.items()},
        "agreement": [dataclasses.asdict(verdict) for verdict in compare(done, pairs, folders)],
        "arithmetic": layout_table(layouts, rates, plan.peak),
    }


def take_turns(name: str, workers: Sequence[Worker], plan: Plan) -> None:
    """Trains every worker to the end of its steps, in rounds in which each has one turn; who begins changes."""
    with contextlib.ExitStack() as stack:
        for worker in workers:
            stack.enter_context(worker)
        for turn in range(plan.rounds + 1):
            until = 1 + turn * plan.steps_per_turn
            first = turn % len(workers)
            for worker in [*workers[first:], *workers[:first]]:
                worker.turn(until)
                print(f"{name}: {worker.name}: step {until}/{plan.steps}, loss {worker.steps[-1].loss:.4f}", flush=True)


def compare(
    done: Mapping[Run, Figures], pairs: Mapping[Run, Sequence[Pair]], folders: Mapping[Run, Path]
) -> list[Agreement]:
    """Returns how the losses of each rival compare with ours under its limits."""
    verdicts = []
    for run, figure in done.items():
        ours = done.get(Run("ours", run.limits))
        if run.system == "ours" or ours is None:
            continue
        share = 1.0  # a program that was given ids trains those
        if not run.takes_ids:
            trained = json.loads((folders[run] / "tokens.json").read_text(encoding="utf-8"))
            share = same_tokens(pairs[run], trained, run.limits)
        verdicts.append(agreement(figure, ours, share))
    return verdicts


def memory_of(worker: Worker, plan: Plan) -> int | None:
    """Returns the most bytes that a program had: in its process, or on the GPU as it says itself."""
    return worker.peak_memory if plan.settings.device == "cpu" else worker.told_memory


def count_weights(model: Path) -> int:
    """Returns how many weights a model's file holds."""
    with safe_open(model / "model.safetensors", framework="numpy") as file:
        return sum(math.prod(file.get_slice(name).get_shape()) for name in file.offset_keys())


def write(out: Path, result: Mapping[str, Any]) -> None:
    """Writes `<out>.json` and `<out>.md`."""
    out.parent.mkdir(parents=True, exist_ok=True)
    out.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    out.with_suffix(".md").write_text(markdown(result), encoding="utf-8")


def make_plan(options: argparse.Namespace) -> Plan:
    """Returns what is to be run; the quick mode is a tiny model of ours on the pairs that come with the package."""
    if options.quick:
        settings = Settings(max_length=64)
        tiny = runs(("ours",), settings)
        return Plan(("tiny",), tiny, quickstart.train_file(), settings, 1, 1, None, options.build)
    settings = Settings(batch_size=options.pairs, max_length=options.max_length, device=options.device)
    return Plan(
        models=options.models,
        runs=runs(options.systems, settings),
        data=options.data,
        settings=settings,
        rounds=options.rounds,
        steps_per_turn=options.steps,
        peak=options.peak,
        build=options.build,
    )


def command_options(options: argparse.Namespace) -> list[str]:
    """Returns the options that tell a run from another, without the paths of this machine."""
    if options.quick:
        return ["--quick"]
    written = [f"--systems {','.join(options.systems)}", f"--models {','.join(options.models)}"]
    written += [f"--steps {options.steps}", f"--rounds {options.rounds}"]
    standard = Settings()
    usual = {"pairs": standard.batch_size, "max_length": standard.max_length, "device": standard.device}
    given = {name: getattr(options, name) for name in usual}
    return [*written, *(f"--{name} {value}" for name, value in given.items() if value != usual[name])]


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Returns the options; wrong ones end the program with a message."""

    def names(known: Sequence[str]):
        def chosen(text: str) -> tuple[str, ...]:
            if unknown := [name for name in text.split(",") if name not in known]:
                raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; there are {', '.join(known)}.")
            return tuple(dict.fromkeys(text.split(",")))

        return chosen

    def count(text: str) -> int:
        if not text.isdecimal() or int(text) < 1:
            raise argparse.ArgumentTypeError(f"{text!r} must be an integer of at least 1.")
        return int(text)

    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--systems", type=names(SYSTEMS), default="ours,trl,easydel", help=f"of {', '.join(SYSTEMS)}")
    parser.add_argument("--models", type=names(NAMES), default="stories260k,bench-7m,bench-40m", help="with commas")
    parser.add_argument("--steps", type=count, default=4, help="steps a turn")
    parser.add_argument("--rounds", type=count, default=3, help="turns of each program after its first step")
    parser.add_argument("--pairs", type=count, default=Settings.batch_size, help="pairs a step")
    parser.add_argument(
        "--max_length", type=count, default=Settings.max_length, help="tokens of a prompt with an answer"
    )
    parser.add_argument(
        "--device", choices=("cpu", "gpu"), default=Settings.device, help="gpu: bfloat16, without EasyDeL"
    )
    parser.add_argument("--data", type=Path, default=DATA, help="pairs, .jsonl or .jsonl.gz")
    parser.add_argument("--peak", type=float, help="FLOP/s of the machine, for MFU")
    parser.add_argument("--out", type=Path, help="results file without its ending")
    parser.add_argument("--build", type=Path, default=BUILD, help="folder for models and runs")
    parser.add_argument("--quick", action="store_true", help="two steps of ours on a tiny model, to try the script")
    options = parser.parse_args(argv)
    if options.device == "gpu" and "easydel" in options.systems:
        parser.error("EasyDeL is compared on CPU only: take --systems ours,trl.")
    return options


if __name__ == "__main__":
    sys.exit(main())
