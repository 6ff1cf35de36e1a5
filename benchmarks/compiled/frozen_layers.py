"""A step of Llama 3.2 1B with half of its layers frozen: 4 rows of 2,048 tokens, AdamW, the reference known."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from benchmarks.compiled.row import Row
from benchmarks.memory import batch_form, compiled_step, model_form, taken
from easydel.data.pack import Shape
from easydel.sharding import make_mesh
from easydel.trainers.config import DPOConfig

ONE = (1, 1, 1, 1, 1)
FIRST_HALF = {True: r"^model\.layers\.0\.", False: r"^model\.layers\.[0-7]\."}


def _peak(devices: Sequence[Any], small: bool, *, frozen: bool) -> float:
    """Returns the GB that a step takes."""
    mesh = make_mesh(ONE, devices[:1])
    model = model_form(
        "small" if small else "llama-3.2-1b",
        mesh,
        dtype="bfloat16",
        param_dtype="float32",
        gradient_checkpointing="nothing_saveable",
    )
    shape = Shape(2, 256, 512) if small else Shape(4, 2048, 8192)
    pattern = FIRST_HALF[small] if frozen else None
    settings = DPOConfig(precompute_ref_log_probs=True, frozen_parameters=pattern)
    return taken(compiled_step(model, batch_form(shape, 16, mesh), settings)).peak / 1e9


ROWS = (
    Row("all-trained-H200", "memory, all layers trained, GB", "H200", 24.1, None, partial(_peak, frozen=False)),
    Row("half-frozen-H200", "memory, 8 of 16 layers frozen, GB", "H200", 25.3, 18.5, partial(_peak, frozen=True)),
)
