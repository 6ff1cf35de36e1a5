"""Weights packed into four or eight bits, for a base that stays as it is: made when a model is loaded, unpacked at use.

`nf4` (Dettmers et al. 2023, section 3): blocks of 64 weights along the input of a matrix share the largest magnitude of
the block, float32, and each weight is the nearest of 16 fixed values times it: two codes to a byte, and 0.5625 bytes a
weight in all.
`int8`: the weights of an output share their largest magnitude, and each is a whole number of its 127ths.

A matrix is unpacked where it is used, one at a time, and once more in the backward pass: nothing of it is kept.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from easydel.errors import ConfigError, nearest
from easydel.sharding import parts_of, sharding_for
from easydel.weights.load import Advance, check_tensors, load_row, unseen
from easydel.weights.safetensors import Stored
from easydel.weights.table import Row, Sizes, get, nest, unnest

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
_BETWEEN = (NF4[1:] + NF4[:-1]) / 2  # a weight above so many of these has that code


@partial(
    jax.tree_util.register_dataclass, data_fields=["codes", "scales"], meta_fields=["kind", "inputs", "order", "dtype"]
)
@dataclass(frozen=True)
class Packed:
    """A matrix, or a stack of them on leading axes, in a few bits a weight.

    Attributes:
        codes: the weights, output axes first and the input axes as one: two to a byte under nf4.
        scales: the magnitudes they are multiplied by, one for each block of inputs.
        kind: one of `QUANTIZATIONS`.
        inputs: the sizes of the input axes.
        order: the place of each of our axes among the output axes and, after them, the input axes.
        dtype: what the weights were, by name.
    """

    codes: Int[Array, "... packed"]
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


Weights = jax.Array | Packed


def is_packable(row: Row) -> bool:
    """Returns whether quantisation packs an array of the table: matrices and embeddings, not norms and biases."""
    return len(row.sides[0]) == 2


def pack(weights: Float[Array, "..."], row: Row, kind: str) -> Packed:
    """Returns an array of the table, with or without its axis of layers, packed."""
    (out, into), ours = row.sides
    order = tuple([*out, *into].index(axis) for axis in ours)
    leading = weights.ndim - len(ours)
    file_order = [*range(leading), *(leading + ours.index(axis) for axis in [*out, *into])]
    wide = weights.astype(jnp.float32).transpose(file_order)
    inputs = wide.shape[wide.ndim - len(into) :]
    flat = wide.reshape(*wide.shape[: wide.ndim - len(into)], -1)
    codes, scales = (_nf4 if kind == "nf4" else _int8)(flat)
    return Packed(codes, scales, kind, inputs, order, weights.dtype.name)


def dense(weights: Weights, dtype: DTypeLike) -> jax.Array:
    """Returns an array of the table as it is multiplied with, packed or not, in `dtype`."""
    if not isinstance(weights, Packed):
        return weights.astype(dtype)
    values = _from_nf4(weights) if weights.kind == "nf4" else weights.codes.astype(jnp.float32) * weights.scales
    split = values.reshape(*values.shape[:-1], *weights.inputs)
    leading = split.ndim - len(weights.order)
    return split.transpose([*range(leading), *(leading + place for place in weights.order)]).astype(dtype)


def product(pattern: str, x: jax.Array, weights: Weights) -> jax.Array:
    """Returns einsum(pattern, x, weights) in the dtype of `x`."""
    if not isinstance(weights, Packed):
        return jnp.einsum(pattern, x, weights.astype(x.dtype))

    # Otherwise the backward pass would be left every unpacked matrix of the model.
    @jax.checkpoint
    def unpacked(x: jax.Array, weights: Packed) -> jax.Array:
        return jnp.einsum(pattern, x, dense(weights, x.dtype))

    return unpacked(x, weights)


def rows_at(table: Weights, index: Int[Array, "..."], dtype: DTypeLike) -> Float[Array, "... embed"]:
    """Returns the rows of an embedding, unpacking no others."""
    if not isinstance(table, Packed):
        return table[index].astype(dtype)
    return dense(replace(table, codes=table.codes[index], scales=table.scales[index]), dtype)


def packed_shardings(row: Row, sizes: Sizes, mesh: Mesh, kind: str, dtype: np.dtype) -> Packed:
    """Returns where the arrays of a packed row lie: as the row itself would, where blocks are not cut.

    Where they would be, the inputs are whole on each device, and a warning says so.

    Raises:
        ConfigError: an axis that does not divide over the mesh.
    """
    out, into = row.sides[0]
    lead = row.axes[: -len(row.sides[1])]
    form = _packed_form(row, sizes, kind, dtype)
    parts = parts_of(into[0], mesh)
    inputs = int(np.prod(form.inputs))
    whole_blocks = inputs % (BLOCK * parts) == 0
    if parts > 1 and not whole_blocks:
        warnings.warn(
            f"{row.name}: {inputs} inputs packed in blocks of {BLOCK} do not divide over {parts} devices, so that each "
            "holds all of them. Choose sharding_axis_dims so that they do if memory is short.",
            stacklevel=2,
        )

    def place(array: jax.ShapeDtypeStruct) -> Any:
        last = into[0] if whole_blocks and array.shape[-1] % parts == 0 else "packed"
        return sharding_for([*lead, *out, last], array.shape, mesh, name=row.name)

    return replace(form, codes=place(form.codes), scales=place(form.scales))


def packed_params(
    rows: Sequence[Row], params: Mapping[str, Any], sizes: Sizes, mesh: Mesh, kind: str
) -> dict[str, Any]:
    """Returns the parameters with each array that `is_packable` packed."""

    def packed(row: Row) -> Any:
        array = get(params, row.path)
        return _packer(row, sizes, mesh, kind, array.dtype)(array) if is_packable(row) else array

    return nest({row.path: packed(row) for row in rows})


def load_packed(
    rows: Sequence[Row],
    stored: Mapping[str, Stored],
    sizes: Sizes,
    *,
    mesh: Mesh,
    dtype: np.dtype,
    kind: str,
    duplicates: Mapping[str, str] | None = None,
    advance: Advance = unseen,
) -> dict[str, Any]:
    """Returns what `load_params` does, packed as it is read: no more than one matrix is there unpacked."""
    check_tensors(rows, stored, sizes, duplicates or {})

    def load(row: Row) -> Any:
        read = partial(load_row, row, stored, sizes, mesh=mesh, dtype=dtype, advance=advance)
        if not is_packable(row):
            return read()
        if not row.stacked:
            return _packer(row, sizes, mesh, kind, dtype)(read())
        count = row.stack(sizes)[0]
        pack_one = _packer(row._replace(layers=(0,)), sizes, mesh, kind, dtype)
        layers = [pack_one(read(layer=layer)) for layer in range(count)]
        places = packed_shardings(row, sizes, mesh, kind, dtype)
        stack = jax.jit(lambda *parts: jax.tree.map(lambda *x: jnp.concatenate(x), *parts), out_shardings=places)
        return stack(*layers)

    return nest({row.path: load(row) for row in rows})


def packed_bytes(row: Row, sizes: Sizes, kind: str) -> int:
    """Returns the bytes that an array of the table takes packed."""
    form = _packed_form(row, sizes, kind, np.dtype(np.float32))
    return form.codes.size * form.codes.dtype.itemsize + form.scales.size * form.scales.dtype.itemsize


def check_quantization(kind: str, params: Mapping[str, Any] | None = None) -> None:
    """Raises ConfigError for a kind that there is not, or for weights that are packed already."""
    if kind not in QUANTIZATIONS:
        raise ConfigError(
            f"quantization {kind!r} is not supported.{nearest(kind, QUANTIZATIONS)} Supported: "
            f"{', '.join(QUANTIZATIONS)}, or None."
        )
    packed = None if params is None else quantization_of(params)
    if packed is not None:
        raise ConfigError(f"the weights are packed into {packed} already: load the model again, for {kind}.")


def quantization_of(params: Mapping[str, Any]) -> str | None:
    """Returns how the weights are packed, None where none are."""
    return next((x.kind for x in unnest(params).values() if isinstance(x, Packed)), None)


def _packed_form(row: Row, sizes: Sizes, kind: str, dtype: np.dtype) -> Any:
    return jax.eval_shape(lambda x: pack(x, row, kind), jax.ShapeDtypeStruct(row.shape(sizes), dtype))


def _packer(row: Row, sizes: Sizes, mesh: Mesh, kind: str, dtype: np.dtype) -> Callable[[jax.Array], Packed]:
    places = packed_shardings(row, sizes, mesh, kind, dtype)
    return jax.jit(lambda x: pack(x, row, kind), out_shardings=places)


def _nf4(flat: Float[Array, "... inputs"]) -> tuple[Int[Array, "... packed"], Float[Array, "... blocks"]]:
    inputs = flat.shape[-1]
    padded = jnp.pad(flat, [(0, 0)] * (flat.ndim - 1) + [(0, -inputs % BLOCK)])
    blocks = padded.reshape(*flat.shape[:-1], -1, BLOCK)
    scales = jnp.max(jnp.abs(blocks), axis=-1)
    relative = blocks / jnp.where(scales > 0, scales, 1.0)[..., None]
    codes = jnp.zeros(relative.shape, jnp.uint8)
    for edge in _BETWEEN:
        codes += relative > edge
    codes = codes.reshape(*flat.shape[:-1], -1, 2)
    return (codes[..., 0] | codes[..., 1] << 4)[..., : -(-inputs // 2)], scales


def _from_nf4(packed: Packed) -> Float[Array, "... inputs"]:
    codes, inputs = packed.codes, int(np.prod(packed.inputs))
    both = jnp.stack([codes & 15, codes >> 4], axis=-1).reshape(*codes.shape[:-1], -1)[..., :inputs]
    scales = jnp.repeat(packed.scales, BLOCK, axis=-1)[..., :inputs]
    return jnp.asarray(NF4)[both] * scales


def _int8(flat: Float[Array, "... inputs"]) -> tuple[Int[Array, "... inputs"], Float[Array, "... 1"]]:
    scales = jnp.max(jnp.abs(flat), axis=-1, keepdims=True) / 127.0
    return jnp.round(flat / jnp.where(scales > 0, scales, 1.0)).astype(jnp.int8), scales
