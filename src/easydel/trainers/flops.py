"""How much arithmetic a step is, by formula, and how much the devices could do: what `mfu` is made of."""

import math
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from easydel.data.pack import Batch
from easydel.models.config import ModelConfig
from easydel.models.rows import axis_sizes, weight_rows
from easydel.processes import local

# Dense bfloat16 peaks in FLOP/s by how the name begins that jax gives a device. The first that fits counts: v5p is also
# called just "TPU v5", so the other fifth generation comes before it. From NVIDIA's data sheets (SXM, without
# sparsity) and https://docs.cloud.google.com/tpu/docs/v6e and its siblings ("peak compute per chip, bf16").
_PEAKS = {
    "NVIDIA A100": 312e12,
    "NVIDIA H100": 989e12,
    "NVIDIA H200": 989e12,
    "NVIDIA B200": 2250e12,
    "TPU v4": 275e12,
    "TPU v5 lite": 197e12,
    "TPU v5e": 197e12,
    "TPU v5": 459e12,
    "TPU v6 lite": 918e12,
    "TPU v6e": 918e12,
}


def step_flops(config: ModelConfig, batch: Batch, *, with_reference: bool, trained_share: float = 1.0) -> float:
    """Returns the FLOP of one update on a batch: 6 per weight and token, and 2 more for the reference.

    A matrix weight costs 2 FLOP a token forward, 2 to pass the gradient on and 2 for its own gradient, which a frozen
    one does not need; `trained_share` says how many of the weights are trained. Every token of a row passes the blocks,
    only completion tokens meet the head. Adapters, padding, recomputation and attention scores (2-4 % at usual lengths)
    are not counted, so this is a floor: what a program without any waste would do.
    """
    return matmul_flops(
        config,
        float(np.sum(batch.segment > 0)),
        float(np.sum(batch.lengths)),
        with_reference=with_reference,
        trained_share=trained_share,
    )


def matmul_flops(
    config: ModelConfig, block_tokens: float, head_tokens: float, *, with_reference: bool, trained_share: float = 1.0
) -> float:
    """Returns the FLOP of one update in which `block_tokens` pass the blocks and `head_tokens` meet the head."""
    sizes = axis_sizes(config)
    kernels = [row for row in weight_rows(config) if row.stacked and row.path[-1] == "kernel"]
    blocks = sum(math.prod(row.shape(sizes)) for row in kernels if "{expert}" not in row.name)
    if config.experts is not None:
        sparse = sum(layer.sparse for layer in config.layers)
        blocks += sparse * 3 * config.experts.per_token * config.experts.size * config.hidden_size
    head = config.hidden_size * config.vocab_size
    per_weight = 4 + 2 * trained_share + (2 if with_reference else 0)
    return per_weight * (blocks * block_tokens + head * head_tokens)


def peak_flops(devices: Sequence[Any]) -> float | None:
    """Returns the bfloat16 FLOP/s of all devices together, or None where the peak is not known, such as on a CPU."""
    kind = devices[0].device_kind
    return next((peak * len(devices) for name, peak in _PEAKS.items() if kind.startswith(name)), None)


def peak_memory(devices: Sequence[Any]) -> int:
    """Returns the peak of bytes in use so far: of the fullest device, or of the process where devices do not tell.

    That is so on CPU, and with some allocators. Windows does not tell either: 0.
    """
    stats = [device.memory_stats() for device in local(devices)]
    known = [s["peak_bytes_in_use"] for s in stats if s and "peak_bytes_in_use" in s]
    if len(known) == len(stats):
        return max(known)
    if sys.platform == "win32":
        return 0
    import resource  # there is none on Windows

    unit = 1 if sys.platform == "darwin" else 1024  # Linux counts in KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
