"""Whole runs of a model that compiles in a second, on rows that it learns in a few steps."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

import easydel as ed
from easydel.models.causal_lm import CausalLM
from easydel.models.config import ModelConfig
from easydel.sharding import make_mesh
from easydel.trainers.log import read_metrics
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


def tiny_model(seed: int = 0, *, eos_token_id: int = TINY.eos_token_id[0], **options: Any) -> CausalLM:
    stopping = ModelConfig.from_hf({**TINY.to_hf(), "eos_token_id": eos_token_id})
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
