"""What is said before the first step, worked out by hand for a model of a few thousand weights."""

from pathlib import Path

from easydel.data.counts import Counts
from easydel.data.preview import Preview, Segment
from easydel.data.used_columns import Columns
from easydel.trainers.opening import Opening
from easydel.trainers.pace import pace_of
from easydel.trainers.run_folder import RunFolder
from easydel.trainers.shown import Shown
from easydel.trainers.split import split_of
from oracles.runs import config, tiny_model

COUNTS = Counts(12, 10, {"max_length": 1}, {"too long": 2}, 0, 0)
PREVIEW = Preview(
    1,
    ("the first row kept",),
    (Segment("cut", (5,), "well "), Segment("prompt", (6, 7), "sky?\n")),
    (Segment("trained", (8,), "blue"), Segment("trained", (2,), "</s>", special=True)),
    (Segment("trained", (9, 9), "red"),),
)
SHOWN = Shown(COUNTS, Columns(12, dict.fromkeys(("prompt", "chosen", "rejected"), 12), {}, {}), [PREVIEW], PREVIEW)
MIB = 1024**2


def opening(
    folder: Path, *, lora_rank: int | None = None, done: int = 0, moved: Path | None = None, **options
) -> Opening:
    asked = config(folder, lora_rank=lora_rank, **options)
    model = tiny_model() if lora_rank is None else tiny_model().apply_lora(rank=lora_rank)
    return Opening(
        config=asked,
        model=model,
        split=split_of(asked, model),
        data={"train": SHOWN, "eval": SHOWN},
        folder=RunFolder(folder / "dpo", False, moved),
        streamed=False,
        done=done,
        pace=pace_of(asked, 3, 3),
        needed_memory={"weights": 2 * MIB, "optimizer": 4 * MIB, "reference": 0},
        available_memory=8000 * MIB,
    )


def facts(text: str) -> dict[str, str]:
    lines = [line for line in text.splitlines() if not line.startswith(" ")]
    return {line.partition("  ")[0]: line.partition("  ")[2].strip() for line in lines}


def test_people_read_what_is_trained_on_what_and_with_how_much_memory(tmp_path: Path):
    # embedding and head 64 x 16 each; a layer of 16 x 16 twice, 16 x 8 twice, 16 x 32 thrice and two norms; a norm
    weights = 2 * 64 * 16 + 2 * 256 + 2 * 128 + 3 * 512 + 2 * 16 + 16
    assert facts(opening(tmp_path).text()) == {
        "run": f"dpo, in {tmp_path / 'dpo'}",
        "model": f"llama, {weights:,} weights in float32",
        "trained": "all weights",
        "loss": "sigmoid",
        "devices": "1 cpu",
        "memory": "at least 6.0 of 8,000.0 MiB (weights 2.0, optimizer 4.0, reference 0.0)",
        "rows, train": "10 of 12 rows kept. Dropped: 2 (too long). Truncated: 1 (max_length).",
        "rows, held out": "10 of 12 rows kept. Dropped: 2 (too long). Truncated: 1 (max_length).",
        "steps": "3 of 4 pairs",
    }


def test_below_the_rows_of_each_set_are_its_columns_and_its_first_pair(tmp_path: Path):
    lines = opening(tmp_path).text().splitlines()
    below = [
        "  columns       prompt, chosen, rejected",
        "  row 1         tokens: 2 prompt, 2 chosen, 2 rejected",
        "  prompt        [cut, 1 token: well ]sky?↵|",
        "  chosen        |blue«</s>»",
        "  rejected      |red",
    ]
    for name in ("rows, train", "rows, held out"):
        at = next(at for at, line in enumerate(lines) if line.startswith(name))
        assert lines[at + 1 : at + 6] == below


def test_a_program_is_told_the_same_in_numbers(tmp_path: Path):
    values = opening(tmp_path).values()
    assert values["parameters"] == values["trained_parameters"] == 4400
    assert values["mesh"] == {"dp": 1, "fsdp": 1, "ep": 1, "tp": 1, "sp": 1}
    assert values["memory_needed"] == {"weights": 2 * MIB, "optimizer": 4 * MIB, "reference": 0}
    assert values["data"]["eval"]["dropped"] == {"too long": 2}
    assert values["data"]["eval"]["columns"]["read"] == {"prompt": 12, "chosen": 12, "rejected": 12}
    [preview] = values["data"]["eval"]["previews"]
    assert preview["chosen"][1] == {"kind": "trained", "tokens": 1, "text": "</s>", "special": True}
    assert (values["step"], values["total_steps"], values["pairs_per_step"]) == (0, 3, 4)


def test_only_what_is_trained_counts_as_trained(tmp_path: Path):
    adapters = opening(tmp_path, lora_rank=2)
    # one layer: rank 2 beside each of seven matrices, 2 x (rows + columns)
    trained = 2 * (2 * (16 + 16) + 2 * (16 + 8) + 3 * (16 + 32))
    assert facts(adapters.text())["trained"] == f"adapters of rank 2, {trained} weights"
    assert adapters.values()["trained_parameters"] == trained
    assert adapters.values()["parameters"] == 4400 + trained
    frozen = opening(tmp_path, frozen_parameters="embed_tokens")
    assert facts(frozen.text())["trained"] == f"{4400 - 64 * 16:,} weights, {(4400 - 64 * 16) / 4400:.1%} of them"


def test_what_is_not_as_it_may_have_been_meant_is_said_at_the_end(tmp_path: Path):
    notes = opening(tmp_path, moved=tmp_path / "dpo.1", resume="auto", max_training_steps=9).text().splitlines()[-3:]
    assert notes[0] == f"What was in {tmp_path / 'dpo'} was moved to {tmp_path / 'dpo.1'}."
    assert notes[1].startswith("There is no checkpoint to continue from")
    assert notes[2].startswith("max_training_steps = 9 is not reached: 1 epoch")
    continued = opening(tmp_path, resume="auto", done=2).text()
    assert continued.splitlines()[-1] == "steps           3 of 4 pairs, of which 2 lie behind"
