"""Whole runs of models of published sizes with random weights: the trainer as a user calls it, on one device."""

import json
import statistics
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import jax

import easydel as ed
from benchmarks.gpu.lengths import random_rows, word_tokenizer
from benchmarks.shapes import shape_config
from easydel.models.causal_lm import CausalLM
from easydel.sharding import make_mesh

HEADER = ["model", "pairs a step", "step s", "pairs/s", "tokens/s", "TFLOP/s", "MFU", "padding", "shared", "memory GB"]
_FIRST = 4  # steps that are left out: each of the few shapes of rows is compiled when it first comes


class Case(NamedTuple):
    """A model and how it is trained.

    Attributes:
        options: of `DPOConfig`, beyond what all cases have.
    """

    shape: str
    pairs: int
    max_length: int
    steps: int
    checkpointing: str = ""
    options: dict[str, Any] = {}  # noqa: RUF012  # of a tuple that nobody changes


# The 8B one is what fits 141 GB: its reference is computed before, and the first moment is bfloat16.
_EIGHT = {"precompute_ref_log_probs": True, "mu_dtype": "bfloat16", "gradient_accumulation_steps": 8}
REAL = (
    Case("qwen2.5-0.5b", 64, 2048, 24, "nothing_saveable"),
    Case("llama-3.2-1b", 64, 2048, 24, "nothing_saveable"),
    Case("llama-3.1-8b", 64, 2048, 12, "nothing_saveable", _EIGHT),
)
SMALL = (Case("small", 8, 256, 8),)


def rows(cases: tuple[Case, ...]) -> list[list[str]]:
    """Returns a row for each case: medians over the steps after the first few; MFU where the peak is known."""
    return [_of_case(case) for case in cases]


def _of_case(case: Case) -> list[str]:
    config = shape_config(case.shape)
    mesh = make_mesh((1, 1, 1, 1, 1), jax.devices()[:1])
    model = CausalLM.from_config(config, dtype="bfloat16", mesh=mesh, gradient_checkpointing=case.checkpointing)
    pairs = random_rows(case.pairs * case.steps, config.vocab_size, case.max_length)
    with tempfile.TemporaryDirectory() as folder:
        arguments = ed.DPOConfig(
            save_directory=folder,
            model_name="run",
            max_length=case.max_length,
            total_batch_size=case.pairs,
            learning_rate=1e-6,
            log_steps=1,
            do_last_save=False,
            progress_bar_type="none",
            **case.options,
        )
        trainer = ed.DPOTrainer(
            arguments=arguments,
            model=model,
            processing_class=word_tokenizer(config.vocab_size),
            train_dataset=pairs,
        )
        trainer.train()
        lines = (Path(folder) / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    logged = [entry for entry in map(json.loads, lines) if "loss" in entry][_FIRST:]
    return [case.shape, str(case.pairs), *_figures(logged)]


def _figures(logged: list[dict[str, float]]) -> list[str]:
    def middle(name: str) -> float:
        return statistics.median(entry[name] for entry in logged)

    mfu = f"{middle('mfu'):.1%}" if "mfu" in logged[0] else "peak unknown"
    return [
        f"{middle('step_time'):.3f}",
        f"{middle('pairs_per_second'):.2f}",
        f"{middle('tokens_per_second'):,.0f}",
        f"{middle('flops_per_second') / 1e12:.3g}",
        mfu,
        f"{middle('padding_fraction'):.1%}",
        f"{middle('prefix_shared_fraction'):.1%}",
        f"{max(entry['memory'] for entry in logged) / 1e9:.1f}",
    ]
