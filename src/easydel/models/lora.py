"""Low-rank adapters (LoRA, rsLoRA, DoRA): small trained matrices beside frozen ones.

A projection with adapters computes `x W + s (x A) B`, A [in, rank] and B [rank, out] (LoRA, Hu et al. 2021, arXiv
2106.09685, eq. 3), without ever forming `W + s A B`; s is `alpha / rank`, or `alpha / sqrt(rank)` (rsLoRA,
Kalajdzievski 2023, arXiv 2312.03732). B starts at 0, so that the model starts as its base, bit for bit. DoRA (Liu et
al. 2024, arXiv 2402.09353, eq. 5) also learns the length of each output's weight vector:

    W' = m (W + s A B) / |W + s A B|        the norm being a constant to the gradient (section 4.3 of the paper)

The adapters of a projection lie beside its kernel in the parameters: `lora_a`, `lora_b`, `lora_magnitude` are trained;
`lora_scale` (s) and `lora_norm` (|W|) follow from the rest and are not. Matrices that PEFT finds fused share one A.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from easydel.models.quantize import dense
from easydel.weights.table import nest, unnest

TRAINED = ("lora_a", "lora_b", "lora_magnitude")
# Matrices that a file may keep in one tensor: then they have one A, which lies at the name of the tensor in the layer.
FUSED = {
    "qkv": ("query", "key", "value"),
    "gate_up": ("gate", "up"),
    "bcx": ("in_gate", "out_gate", "input"),
}
_N = TypeVar("_N", int, float)


@dataclass(frozen=True)
class Lora:
    """How the adapters of a model were made, with the names of `adapter_config.json`.

    Attributes:
        target_modules: the modules that have adapters, by the ends of their names in the checkpoint.
        rank_pattern, alpha_pattern: (ends of names, or regular expressions for them; another rank or alpha than `rank`
            and `alpha`). The first that fits a module counts.
    """

    rank: int
    alpha: float
    target_modules: tuple[str, ...]
    dropout: float = 0.0
    use_dora: bool = False
    use_rslora: bool = False
    rank_pattern: tuple[tuple[str, int], ...] = ()
    alpha_pattern: tuple[tuple[str, float], ...] = ()

    def rank_of(self, name: str) -> int:
        """Returns the rank of the adapters of a module, by its whole name."""
        return _fitting(self.rank_pattern, name, self.rank)

    def scale_of(self, name: str) -> float:
        """Returns what the product of the two matrices of a module is multiplied by."""
        rank, alpha = self.rank_of(name), _fitting(self.alpha_pattern, name, self.alpha)
        return alpha / (math.sqrt(rank) if self.use_rslora else rank)


def _fitting(pattern: Sequence[tuple[str, _N]], name: str, otherwise: _N) -> _N:
    return next((value for key, value in pattern if re.fullmatch(rf"(.*\.)?({key})", name)), otherwise)


def with_shared(layer: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the weights of layers with the A of matrices that are fused in the file beside each of them."""
    spread = dict(layer)
    for name, parts in FUSED.items():
        if name in layer:
            spread |= {part: {**layer[part], **layer[name]} for part in parts}
    return spread


def without_adapters(params: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the parameters of the base alone; its arrays are the same, not copies."""
    return nest({path: x for path, x in unnest(params).items() if not path[-1].startswith("lora_")})


def adds_nothing(params: Mapping[str, Any]) -> bool:
    """Returns whether the model computes what its base does: every B is 0, and every magnitude that of its kernel."""
    arrays = unnest(params)
    moved = {"lora_b": lambda at: arrays[*at, "lora_b"] != 0}
    moved["lora_magnitude"] = lambda at: arrays[*at, "lora_magnitude"] != arrays[*at, "lora_norm"]
    return not any(bool(jnp.any(moved[name](at))) for *at, name in arrays if name in moved)


def with_dropout(params: Mapping[str, Any], rate: float, key: Key[Array, ""]) -> dict[str, Any]:
    """Returns the parameters with what `adapted` needs to drop inputs of the adapters, a key for each layer of each."""
    whole = unnest(params)
    places = [path[:-1] for path in whole if path[-1] == "lora_a"]
    for at, place_key in zip(places, jax.random.split(key, len(places)), strict=True):
        layers = len(whole[*at, "lora_a"])
        whole[*at, "lora_key"] = jax.random.split(place_key, layers)
        whole[*at, "lora_kept"] = jnp.full(layers, 1 - rate, jnp.float32)
    return nest(whole)


def adapted(pattern: str, x: jax.Array, base: jax.Array, weights: Mapping[str, Any]) -> jax.Array:
    """Returns what a projection of one layer gives with its adapters.

    Args:
        pattern: of the einsum of the projection.
        base: `einsum(pattern, x, kernel)`.
        weights: of the projection: `kernel`, `lora_a`, `lora_b` and the rest.
    """
    inputs, _, outputs = pattern.replace("->", ",").split(",")
    of_kernel = pattern.split(",")[1].split("->")[0]
    summed = "".join(axis for axis in of_kernel if axis not in outputs)
    made = "".join(axis for axis in of_kernel if axis in outputs)
    kept = "".join(axis for axis in inputs if axis not in summed)
    if "lora_key" in weights:
        rate = weights["lora_kept"]
        x = jnp.where(jax.random.bernoulli(weights["lora_key"], rate, x.shape), x / rate.astype(x.dtype), 0)
    low = jnp.einsum(f"{inputs},{summed}z->{kept}z", x, weights["lora_a"].astype(x.dtype))
    low = low * weights["lora_scale"].astype(x.dtype)
    added = jnp.einsum(f"{kept}z,z{made}->{outputs}", low, weights["lora_b"].astype(x.dtype))
    if "lora_magnitude" not in weights:
        return base + added
    gain = _gain(weights)
    return base + ((gain - 1).astype(x.dtype) * base + gain.astype(x.dtype) * added)


def merged_kernel(weights: Mapping[str, Any]) -> Float[Array, "layers ..."]:
    """Returns the kernels of a projection, float32, that alone compute what it does with its adapters."""
    if "lora_a" not in weights:
        return dense(weights["kernel"], jnp.float32)

    def of_layer(weights: Mapping[str, Any]) -> jax.Array:
        kernel, a, b = (dense(weights[name], jnp.float32) for name in ("kernel", "lora_a", "lora_b"))
        merged = kernel + weights["lora_scale"] * jnp.tensordot(a, b, 1)
        return merged * _gain(weights) if "lora_magnitude" in weights else merged

    return jax.vmap(of_layer)({name: x for name, x in weights.items() if name != "bias"})


def _gain(weights: Mapping[str, Any]) -> Float[Array, "..."]:
    """Returns m / |W + s A B| for each output, float32, without forming the sum.

    `|W + s A B|^2 = |W|^2 + 2 s <W A^T, B> + s^2 B^T (A^T A) B`, divided by the stored `|W|^2`: exactly 1 where B is 0.
    """
    a, b, w = (dense(weights[name], jnp.float32) for name in ("lora_a", "lora_b", "kernel"))
    inputs = tuple(range(a.ndim - 1))
    cross = jnp.sum(jnp.tensordot(a, w, (inputs, inputs)) * b, axis=0)
    gram = jnp.tensordot(a, a, (inputs, inputs))
    square = jnp.sum(jnp.tensordot(gram, b, 1) * b, axis=0)
    scale, norm = weights["lora_scale"], weights["lora_norm"]
    norm = jnp.where(norm > 0, norm, 1.0)  # an output whose weights are all 0 has magnitude 0, and stays 0
    longer = 1.0 + (2.0 * scale * cross + scale**2 * square) / norm**2
    return weights["lora_magnitude"].astype(jnp.float32) / norm / jnp.sqrt(jax.lax.stop_gradient(longer))
