"""Low-rank adapters (LoRA, rsLoRA, DoRA): small trained matrices beside frozen ones.

A projection with adapters computes `x W + s (x A) B`, A [in, rank] and B [rank, out] (Hu et al. 2021), without ever
forming `W + s A B`; s is `alpha / rank`, or `alpha / sqrt(rank)` (rsLoRA, Kalajdzievski 2023). B starts at 0, so that
the model starts as its base, bit for bit. DoRA (Liu et al. 2024) also learns the length of each output's weight vector:

    W' = m (W + s A B) / |W + s A B|        the norm being a constant to the gradient (section 4.3 of the paper)

The adapters of a projection lie beside its kernel in the parameters: `lora_a`, `lora_b`, `lora_magnitude` are trained;
`lora_scale` (s) and `lora_norm` (|W|) follow from the rest and are not.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key

from easydel.errors import ConfigError
from easydel.models.quantize import Weights, dense
from easydel.weights.table import Row, Sizes, get, nest, unnest

TRAINED = ("lora_a", "lora_b", "lora_magnitude")


@dataclass(frozen=True)
class Lora:
    """How the adapters of a model were made, as `adapter_config.json` says it.

    Attributes:
        target_modules: the modules that have adapters, by the ends of their names in the checkpoint.
    """

    rank: int
    alpha: float
    target_modules: tuple[str, ...]
    dropout: float = 0.0
    use_dora: bool = False
    use_rslora: bool = False

    @property
    def scale(self) -> float:
        """What the product of the two matrices is multiplied by."""
        return self.alpha / (math.sqrt(self.rank) if self.use_rslora else self.rank)


def check_lora(lora: Lora, chosen: Mapping[str, Row], sizes: Sizes) -> None:
    """Raises ConfigError for a rank, alpha or dropout that cannot be."""
    if lora.rank < 1:
        raise ConfigError(f"the rank of the adapters ({lora.rank}) must be at least 1; without adapters, leave it out.")
    for module, row in chosen.items():
        out, into = row.file_shape(sizes)
        if lora.rank > min(out, into):
            raise ConfigError(
                f"the rank of the adapters ({lora.rank}) is larger than {module}, a matrix of {out} x {into}: take at "
                f"most {min(out, into)}, or leave this module out of target_modules."
            )
    if not lora.alpha > 0:
        raise ConfigError(f"alpha ({lora.alpha}) must be above 0: it multiplies what the adapters add.")
    if not 0 <= lora.dropout < 1:
        raise ConfigError(f"the dropout of the adapters ({lora.dropout}) must be in [0, 1).")


def adapter_rows(lora: Lora, chosen: Mapping[str, Row]) -> list[Row]:
    """Returns the rows of the weight table that the adapters add, with the names of PEFT's files."""
    rows = []
    for row in chosen.values():
        (out, into), _ = row.sides
        name = f"base_model.model.{row.name.removesuffix('.weight')}"
        at, before = row.path[:-1], len(rows)
        rows += [
            Row(f"{name}.lora_A.weight", (*at, "lora_a"), f"rank {_group(into)} -> {' '.join(into)} rank"),
            Row(f"{name}.lora_B.weight", (*at, "lora_b"), f"{_group(out)} rank -> rank {' '.join(out)}", "zeros"),
        ]
        if lora.use_dora:
            # On the residual stream, as the bias of an output projection is: too small to split.
            axes = ["residual" if axis == "embed" else axis for axis in out]
            pattern = f"{_group(axes)} -> {' '.join(axes)}"
            rows.append(Row(f"{name}.lora_magnitude_vector", (*at, "lora_magnitude"), pattern, "ones"))
        rows[before:] = [each._replace(layers=row.layers) for each in rows[before:]]
    return rows


def fresh_adapters(rows: Sequence[Row], sizes: Sizes, key: Key[Array, ""], dtype: DTypeLike) -> dict[str, Any]:
    """Returns the A and B of new adapters, nested: A uniform in +-1/sqrt(in) as in PEFT, B zero."""
    arrays = {}
    for row, row_key in zip(rows, jax.random.split(key, len(rows)), strict=True):
        shape = row.shape(sizes)
        if row.start == "zeros":
            arrays[row.path] = jnp.zeros(shape, dtype)
        else:
            bound = math.prod(shape[1:-1]) ** -0.5
            arrays[row.path] = jax.random.uniform(row_key, shape, jnp.float32, -bound, bound).astype(dtype)
    return nest(arrays)


def with_adapters(params: Mapping[str, Any], adapters: Mapping[str, Any], lora: Lora, mesh: Mesh) -> dict[str, Any]:
    """Returns the parameters with adapters beside the kernels, and with what follows from both.

    Under DoRA, adapters without magnitudes get those of the kernels.
    """
    whole = unnest(params) | unnest(adapters)
    for path, b in unnest(adapters).items():
        if path[-1] != "lora_b":
            continue
        at = path[:-1]
        scale = np.full(b.shape[0], lora.scale, np.float32)
        whole[*at, "lora_scale"] = jax.device_put(scale, NamedSharding(mesh, PartitionSpec()))
        if lora.use_dora:
            norm = jax.jit(_norms, static_argnums=1)(get(params, at)["kernel"], b.ndim - 2)
            whole[*at, "lora_norm"] = norm
            whole.setdefault((*at, "lora_magnitude"), norm.astype(b.dtype))
    return nest(whole)


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
        layers = whole[*at, "lora_a"].shape[0]
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


def _norms(kernel: Weights, outputs: int) -> Float[Array, "layers ..."]:
    """Returns the length of each output's weight vector; the last `outputs` axes are those of the outputs."""

    def of_layer(kernel: Weights) -> jax.Array:
        wide = dense(kernel, jnp.float32)
        return jnp.sqrt(jnp.sum(wide * wide, axis=tuple(range(wide.ndim - outputs))))

    return jax.lax.map(of_layer, kernel)  # one after another: no more than one is unpacked


def _group(axes: Sequence[str]) -> str:
    return axes[0] if len(axes) == 1 else f"({' '.join(axes)})"
