"""What is said before the first step, worked out by hand for a model of a few thousand weights."""

import dataclasses
from pathlib import Path

import jax.numpy as jnp

import easydel as ed
from easydel.data.counts import Counts
from easydel.data.preview import Preview, Segment
from easydel.data.used_columns import Columns
from easydel.sharding import make_mesh, sharding_for
from easydel.trainers.dataset_summary import DatasetSummary
from easydel.trainers.record.run_folder import RunFolder
from easydel.trainers.start_summary import RunHeader, bytes_on_each, device_table
from oracles.runs import config, id_rows, trainer
from oracles.tiny import tiny_config, tiny_model

COUNTS = Counts(12, 10, {"max_length": 1}, {"too long": 2}, 0, 0)
PREVIEW = Preview(
    1,
    ("the first row kept",),
    (Segment("cut", (5,), "well "), Segment("prompt", (6, 7), "sky?\n")),
    (Segment("trained", (8,), "blue"), Segment("trained", (2,), "</s>", special=True)),
    (Segment("trained", (9, 9), "red"),),
)
COLUMNS = Columns(12, dict.fromkeys(("prompt", "chosen", "rejected"), 12), {}, {})
SUMMARY = DatasetSummary(COUNTS, COLUMNS, [PREVIEW], PREVIEW)
MIB = 1024**2
MESH = make_mesh((1, 2, 1, 1, 4))


def opening(
    folder: Path, *, lora_rank: int | None = None, done: int = 0, moved: Path | None = None, **options
) -> RunHeader:
    plan = trainer(folder, lora_rank=lora_rank, **options)._plan  # twelve rows, in three steps
    memory = {"weights": 2 * MIB, "optimizer": 4 * MIB, "reference": 0}
    return RunHeader(
        plan=dataclasses.replace(plan, needed_memory=memory, available_memory=8000 * MIB),
        summaries={"train": SUMMARY, "eval": SUMMARY},
        folder=RunFolder(folder / "dpo", False, moved),
        done=done,
    )


def facts(text: str) -> dict[str, str]:
    lines = [line for line in text.splitlines() if not line.startswith(" ")]
    return {line.partition("  ")[0]: line.partition("  ")[2].strip() for line in lines}


def test_people_read_what_is_trained_on_what_and_with_how_much_memory(tmp_path: Path):
    # embedding and head 64 x 16 each; a layer of 16 x 16 twice, 16 x 8 twice, 16 x 32 thrice and two norms; a norm
    weights = 2 * 64 * 16 + 2 * 256 + 2 * 128 + 3 * 512 + 2 * 16 + 16
    assert facts(opening(tmp_path).text()) == {
        "run": f"dpo, in {tmp_path / 'dpo'}",
        "model": f"llama, {weights:,} parameters in float32",
        "trained": "all parameters",
        "loss": "sigmoid",
        "devices": "1 cpu",
        "memory": "at least 6.0 of 8,000.0 MiB (weights 2.0, optimizer 4.0, reference 0.0)",
        "rows, train": "10 of 12 rows kept. Dropped: 2 (too long). Truncated: 1 (max_length).",
        "rows, eval": "10 of 12 rows kept. Dropped: 2 (too long). Truncated: 1 (max_length).",
        "steps": "3 of 4 pairs",
    }


def test_below_the_rows_of_each_set_are_its_columns_and_its_first_pair(tmp_path: Path):
    lines = opening(tmp_path).text().splitlines()
    below = [
        "  columns    prompt, chosen, rejected",
        "  row 1      tokens: 2 prompt, 2 chosen, 2 rejected",
        "  prompt     [cut, 1 token: well ]sky?↵|",
        "  chosen     |blue«</s>»",
        "  rejected   |red",
    ]
    for name in ("rows, train", "rows, eval"):
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
    assert facts(adapters.text())["trained"] == f"adapters of rank 2, {trained} parameters"
    assert adapters.values()["trained_parameters"] == trained
    assert adapters.values()["parameters"] == 4400 + trained
    frozen = opening(tmp_path, frozen_parameters="embed_tokens")
    assert facts(frozen.text())["trained"] == f"{4400 - 64 * 16:,} parameters, {(4400 - 64 * 16) / 4400:.1%} of them"


def test_what_is_not_as_it_may_have_been_meant_is_said_at_the_end(tmp_path: Path):
    notes = opening(tmp_path, moved=tmp_path / "dpo.1", resume="auto", max_training_steps=9).text().splitlines()[-3:]
    assert notes[0] == f"What was in {tmp_path / 'dpo'} was moved to {tmp_path / 'dpo.1'}."
    assert notes[1].startswith("There is no checkpoint to continue from")
    assert notes[2].startswith("max_training_steps = 9 is not reached: 1 epoch")
    continued = opening(tmp_path, resume="auto", done=2).text()
    assert continued.splitlines()[-1] == "steps        3 of 4 pairs, 2 of them done"


def test_what_is_split_counts_by_its_part_and_what_is_not_as_a_whole():
    split = jnp.zeros((16, 3), device=sharding_for(("embed", "layers"), (16, 3), MESH))
    whole = jnp.zeros(5, jnp.int8, device=sharding_for(("residual",), (5,), MESH))
    assert bytes_on_each({"a": split, "b": whole}) == 16 * 3 * 4 // 8 + 5
    lines = device_table(MESH, {"weights": split, "reference": split, "moments": whole}, {"rows": 8000}).splitlines()
    assert lines[0] == "8 cpu devices, on each of them"
    assert lines[1].split() == ["dp", "fsdp", "ep", "tp", "sp", "weights", "moments", "rows"]
    assert lines[2].split() == ["1", "2", "1", "1", "4", "24", "B", "5", "B", "1.0", "kB"]


def test_a_run_on_several_devices_begins_with_the_table(tmp_path, capsys):
    model = tiny_model(dims=(1, 1, 1, 1, 2), config=tiny_config(num_hidden_layers=1, vocab_size=64))
    options = {"progress_bar_type": "tqdm", "max_training_steps": 1, "do_last_save": False}
    ed.DPOTrainer(config(tmp_path, **options), model, train_dataset=id_rows(4)).train()
    out = capsys.readouterr().out.splitlines()
    at = out.index("2 cpu devices, on each of them")
    assert out[at + 1].split()[5:] == ["weights", "reference", "optimizer", "activations", "logits"]
    sizes = out[at + 2].split()[5:]
    assert sizes[:2] == sizes[2:4]  # the reference is as large as the policy
    assert float(sizes[4]) / float(sizes[0]) > 1.9  # two moments for each weight
