"""Whole runs of a model that compiles in a second, on rows that it learns in a few steps."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import easydel as ed
from easydel.models.causal_lm import CausalLM
from easydel.models.config import ModelConfig
from easydel.sharding import make_mesh
from easydel.trainers.record.files import read_metrics
from easydel.trainers.run_plan import RunPlan
from easydel.trainers.train_state import TrainState
from oracles.tiny import ONE_DEVICE, tiny_config

TINY = tiny_config(
    vocab_size=64,
    intermediate_size=32,
    num_hidden_layers=1,
    num_attention_heads=2,
    num_key_value_heads=1,
    initializer_range=0.02,
    eos_token_id=1,
)


def tiny_model(
    seed: int = 0, *, eos_token_id: int = TINY.eos_token_id[0], num_hidden_layers: int = 1, **options: Any
) -> CausalLM:
    changed = {"eos_token_id": eos_token_id, "num_hidden_layers": num_hidden_layers}
    stopping = ModelConfig.from_hf({**TINY.to_hf(), **changed})
    return CausalLM.from_config(stopping, seed=seed, mesh=make_mesh(ONE_DEVICE), **options)


def id_rows(count: int, seed: int = 0) -> list[dict[str, list[int]]]:
    """Rows of token ids in which the chosen answer counts up and the rejected one is noise."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(count):
        start, length = int(rng.integers(2, 40)), int(rng.integers(2, 8))
        rows.append(
            {
                "prompt_ids": [start, start + 1],
                "chosen_ids": [*range(start + 2, start + 2 + length), 1],
                "rejected_ids": [*rng.integers(2, 64, length).tolist(), 1],
            }
        )
    return rows


def config(folder: Path, **options: Any) -> ed.DPOConfig:
    defaults = {
        "total_batch_size": 4,
        "learning_rate": 1e-2,
        "log_steps": 1,
        "progress_bar_type": "none",
        "max_length": 32,
    }
    return ed.DPOConfig(save_directory=str(folder), **{**defaults, **options})


def trainer(folder: Path, rows: int = 12, **options: Any) -> ed.DPOTrainer:
    return ed.DPOTrainer(arguments=config(folder, **options), model=tiny_model(), train_dataset=id_rows(rows))


def held_out_trainer(
    folder: Path,
    eval_dataset: Iterable[Mapping[str, Any]] | Mapping[str, Any] | None = None,
    processing_class: Any = None,
    **options: Any,
) -> ed.DPOTrainer:
    """A trainer of twelve rows, three steps to an epoch, with held-out rows."""
    return ed.DPOTrainer(
        arguments=config(folder, **options),
        model=tiny_model(),
        processing_class=processing_class,
        train_dataset=id_rows(12),
        eval_dataset=id_rows(3, seed=1) if eval_dataset is None else eval_dataset,
    )


def logged(folder: Path, name: str, run: str = "dpo") -> list[float]:
    return [entry[name] for entry in read_metrics(folder / run) if name in entry]


def same_bits(one: Any, other: Any) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True))


def scripted(run: ed.DPOTrainer, losses: dict[int, float], monkeypatch: pytest.MonkeyPatch) -> ed.DPOTrainer:
    """The trainer, with what its evaluations find said in advance, by step."""
    evaluate = RunPlan.evaluate

    def said(plan: RunPlan, state: TrainState) -> dict[str, float]:
        return {"eval_loss": losses[int(state.step)]} if plan is run._plan else evaluate(plan, state)

    monkeypatch.setattr(RunPlan, "evaluate", said)
    return run


def steps_kept(folder: Path) -> list[int]:
    return sorted(int(path.name) for path in (folder / "dpo" / "checkpoints").iterdir())


def without_clock(run: Path) -> list[dict[str, Any]]:
    """What a run logged, but for what differs between two runs of the same."""
    clocked = ("step_time", "memory")
    return [
        {name: value for name, value in entry.items() if name not in clocked and not name.endswith("_per_second")}
        for entry in read_metrics(run)
    ]


def assert_same_run(folder: Path, other: Path) -> None:
    """The weights, the best evaluation, the log and the checkpoints of a run are those of another, bit for bit."""
    for name in ("model/model.safetensors", "best.json"):
        assert (folder / "dpo" / name).read_bytes() == (other / "dpo" / name).read_bytes()
    assert without_clock(folder / "dpo") == without_clock(other / "dpo")
    assert steps_kept(folder) == steps_kept(other)


def killed(run: ed.DPOTrainer, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trains until the process is killed, so to speak, in the middle of a step."""

    def die(now: int, policy: Any) -> None:
        if now == step:
            raise KeyboardInterrupt

    monkeypatch.setattr(run.reference, "after_step", die)
    with pytest.raises(KeyboardInterrupt):
        run.train()
