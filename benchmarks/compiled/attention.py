"""Attention in a step with gradient checkpointing: how often it is computed, and what one layer takes of memory."""

from collections.abc import Sequence
from typing import Any

from benchmarks.compiled.row import Row
from benchmarks.kernels import attention_memory
from benchmarks.memory import batch_form, compiled_step, model_form
from easydel.data.pack import Shape
from easydel.sharding import make_mesh
from easydel.trainers.config import DPOConfig

# How XLA calls attention forward and backward: cuDNN's by its target.
_FORWARD, _BACKWARD = "__cudnn$fmhaSoftmax", "__cudnn$fmhaSoftmaxBackward"


def _passes(devices: Sequence[Any], small: bool) -> float:
    """Returns how many forward passes of attention there are for each backward pass."""
    mesh = make_mesh((1, 1, 1, 1, 1), devices[:1])
    shape = "small" if small else "llama-3.2-1b"
    model = model_form(shape, mesh, dtype="bfloat16", param_dtype="float32", gradient_checkpointing="nothing_saveable")
    rows = Shape(2, 256, 512) if small else Shape(4, 2048, 8192)
    program = compiled_step(model, batch_form(rows, 16, mesh), DPOConfig(precompute_ref_log_probs=True)).as_text() or ""
    calls = [program.count(f'custom_call_target="{name}"') for name in (_FORWARD, _BACKWARD)]
    return calls[0] / calls[1]


def _layer(devices: Sequence[Any], small: bool) -> float:
    """Returns the GB that attention of one layer takes on a row of 16,384 tokens, with its gradient."""
    mesh = make_mesh((1, 1, 1, 1, 1), devices[:1])
    return attention_memory("splash", 1024 if small else 16_384, mesh, dtype="bfloat16") / 1e9


ROWS = (
    Row("passes-H200", "forward passes of attention under gradient_checkpointing", "H200", 3, 2, _passes),
    Row("row-of-16384-v5e", "memory, attention of one layer on a row of 16,384, GB", "v5e", 4.4, 0.3, _layer),
)
