"""Quantized arrays: weights in four or eight bits, for a base that is not trained; dequantized where they are used.

`nf4` (QLoRA, Dettmers et al. 2023, arXiv 2305.14314, section 3): blocks of 64 weights along the input of a matrix share
the largest magnitude of the block, float32, and each weight is the nearest of 16 fixed values times it: two codes to a
byte, 0.5625 bytes per parameter in all; there is no double quantization.
`int8`: the weights of an output share their largest magnitude, and each is an integer number of its 127ths.

A matrix is dequantized one at a time, and once more in the backward pass: nothing of it is kept.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, Integer, UInt

from easydel.errors import ConfigError, unsupported
from easydel.weights.table import Row, unnest

QUANTIZATIONS = ("nf4", "int8")
BLOCK = 64
# The quantiles of a normal distribution that the paper gives in appendix E.
NF4 = np.array(
    [
        *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453),
        *(-0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0),
        *(0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224),
        *(0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
    ],
    np.float32,
)
_BETWEEN = (NF4[1:] + NF4[:-1]) / 2  # a weight has the code of how many of these it is above


@partial(
    jax.tree_util.register_dataclass, data_fields=["codes", "scales"], meta_fields=["kind", "inputs", "order", "dtype"]
)
@dataclass(frozen=True)
class Quantized:
    """A quantized matrix, or a stack of them on leading axes; a pytree of its two arrays.

    Attributes:
        codes: of the weights, output axes first and the input axes as one: two to a byte under nf4.
        scales: the magnitudes that they are multiplied by, one for each block of inputs.
        kind: one of `QUANTIZATIONS`.
        inputs: the sizes of the input axes.
        order: the place of each of our axes among the output axes and, after them, the input axes.
        dtype: that of the weights before, by name.
    """

    codes: Integer[Array, "... codes"]
    scales: Float[Array, "... blocks"]
    kind: str
    inputs: tuple[int, ...]
    order: tuple[int, ...]
    dtype: str

    @property
    def size(self) -> int:
        """The number of weights."""
        return self.codes.size // self.codes.shape[-1] * int(np.prod(self.inputs))

    @property
    def nbytes(self) -> int:
        """The bytes they take."""
        return self.codes.nbytes + self.scales.nbytes


Weights = jax.Array | Quantized


def is_quantizable(row: Row) -> bool:
    """Returns whether an array of the table is quantized: matrices and embeddings are, norms and biases are not."""
    return len(row.sides[0]) == 2


def quantize(weights: Float[Array, "..."], row: Row, kind: str) -> Quantized:
    """Returns an array of the table, with or without its axis of layers, quantized as `kind` ('nf4' or 'int8')."""
    (out, into), ours = row.sides
    order = tuple([*out, *into].index(axis) for axis in ours)
    leading = weights.ndim - len(ours)
    file_order = [*range(leading), *(leading + ours.index(axis) for axis in [*out, *into])]
    wide = weights.astype(jnp.float32).transpose(file_order)
    inputs = wide.shape[wide.ndim - len(into) :]
    flat = wide.reshape(*wide.shape[: wide.ndim - len(into)], -1)
    codes, scales = (_nf4 if kind == "nf4" else _int8)(flat)
    return Quantized(codes, scales, kind, inputs, order, weights.dtype.name)


def dense(weights: Weights, dtype: DTypeLike) -> jax.Array:
    """Returns an array of the table, quantized or not, in the axes of the table and in `dtype`."""
    if not isinstance(weights, Quantized):
        return weights.astype(dtype)
    values = _from_nf4(weights) if weights.kind == "nf4" else weights.codes.astype(jnp.float32) * weights.scales
    split = values.reshape(*values.shape[:-1], *weights.inputs)
    leading = split.ndim - len(weights.order)
    return split.transpose([*range(leading), *(leading + place for place in weights.order)]).astype(dtype)


def product(pattern: str, x: jax.Array, weights: Weights) -> jax.Array:
    """Returns einsum(pattern, x, weights) in the dtype of `x`; `weights` may be quantized."""
    if not isinstance(weights, Quantized):
        return jnp.einsum(pattern, x, weights.astype(x.dtype))

    # Otherwise every dequantized matrix of the model would be kept for the backward pass.
    @jax.checkpoint
    def dequantized(x: jax.Array, weights: Quantized) -> jax.Array:
        return jnp.einsum(pattern, x, dense(weights, x.dtype))

    return dequantized(x, weights)


def rows_at(table: Weights, index: Int[Array, "..."], dtype: DTypeLike) -> Float[Array, "... embed"]:
    """Returns the rows of an embedding; of a quantized one no others are dequantized.

    The gradient of a row that is looked up often is summed in float32 whatever the dtype of the table: in bfloat16 a
    sum stops growing after a few hundred terms.
    """
    if not isinstance(table, Quantized):
        return _rows_at(table, index).astype(dtype)
    return dense(replace(table, codes=table.codes[index], scales=table.scales[index]), dtype)


@jax.custom_vjp
def _rows_at(table: Float[Array, "vocab embed"], index: Int[Array, "..."]) -> Float[Array, "... embed"]:
    return table[index]


def _rows_at_forward(table: jax.Array, index: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return table[index], (table, index)


def _rows_at_backward(kept: tuple[jax.Array, jax.Array], d_rows: jax.Array) -> tuple[jax.Array, None]:
    table, index = kept
    summed = jnp.zeros(table.shape, jnp.float32).at[index].add(d_rows.astype(jnp.float32))
    return summed.astype(table.dtype), None


_rows_at.defvjp(_rows_at_forward, _rows_at_backward)


def check_quantization(kind: str, params: Mapping[str, Any] | None = None) -> None:
    """Raises ConfigError for a kind that is unknown, or for weights that are quantized already."""
    if kind not in QUANTIZATIONS:
        raise unsupported("quantization", kind, (*QUANTIZATIONS, "None"))
    found = None if params is None else quantization_of(params)
    if found is not None:
        raise ConfigError(f"the weights are quantized to {found} already: load the model again for {kind}.")


def quantization_of(params: Mapping[str, Any]) -> str | None:
    """Returns the kind of quantization of the weights, None where they are not quantized."""
    return next((x.kind for x in unnest(params).values() if isinstance(x, Quantized)), None)


def _nf4(flat: Float[Array, "... inputs"]) -> tuple[UInt[Array, "... codes"], Float[Array, "... blocks"]]:
    inputs = flat.shape[-1]
    padded = jnp.pad(flat, [(0, 0)] * (flat.ndim - 1) + [(0, -inputs % BLOCK)])
    blocks = padded.reshape(*flat.shape[:-1], -1, BLOCK)
    scales = jnp.max(jnp.abs(blocks), axis=-1)
    relative = blocks / jnp.where(scales > 0, scales, 1.0)[..., None]
    codes = jnp.zeros(relative.shape, jnp.uint8)
    for edge in _BETWEEN:
        codes += (relative > edge).astype(jnp.uint8)
    codes = codes.reshape(*flat.shape[:-1], -1, 2)
    return (codes[..., 0] | codes[..., 1] << 4)[..., : -(-inputs // 2)], scales


def _from_nf4(weights: Quantized) -> Float[Array, "... inputs"]:
    codes, inputs = weights.codes, int(np.prod(weights.inputs))
    both = jnp.stack([codes & 15, codes >> 4], axis=-1).reshape(*codes.shape[:-1], -1)[..., :inputs]
    scales = jnp.repeat(weights.scales, BLOCK, axis=-1)[..., :inputs]
    return jnp.asarray(NF4)[both] * scales


def _int8(flat: Float[Array, "... inputs"]) -> tuple[Int[Array, "... inputs"], Float[Array, "... 1"]]:
    scales = jnp.max(jnp.abs(flat), axis=-1, keepdims=True) / 127.0
    return jnp.round(flat / jnp.where(scales > 0, scales, 1.0)).astype(jnp.int8), scales
