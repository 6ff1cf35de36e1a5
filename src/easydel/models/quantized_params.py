"""The parameters of a model quantized: where their arrays lie on a mesh, what they take, and loading them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from easydel.errors import warn
from easydel.models.quantize import BLOCK, Quantized, is_quantizable, quantize
from easydel.sharding import parts_of, sharding_for
from easydel.weights.load import Advance, load_row
from easydel.weights.safetensors import Stored
from easydel.weights.table import Row, Sizes, get, nest


def quantized_shardings(row: Row, sizes: Sizes, mesh: Mesh, kind: str, dtype: np.dtype) -> Quantized:
    """Returns how the arrays of a quantized row are sharded: as the row itself, unless that would cut blocks.

    Then the inputs are whole on each device, with a warning.

    Raises:
        ConfigError: an axis that does not divide over the mesh.
    """
    out, into = row.sides[0]
    lead = row.axes[: -len(row.sides[1])]
    abstract = _abstract(row, sizes, kind, dtype)
    parts = parts_of(into[0], mesh)
    inputs = int(np.prod(abstract.inputs))
    whole_blocks = inputs % (BLOCK * parts) == 0
    if parts > 1 and not whole_blocks:
        warn(
            f"{row.name}: {inputs} inputs quantized in blocks of {BLOCK} do not divide over {parts} devices, so that "
            "each holds all of them. Choose sharding_axis_dims so that they do if memory is short."
        )

    def place(array: jax.ShapeDtypeStruct) -> Any:
        last = into[0] if whole_blocks and array.shape[-1] % parts == 0 else "codes"
        return sharding_for([*lead, *out, last], array.shape, mesh, name=row.name)

    return replace(abstract, codes=place(abstract.codes), scales=place(abstract.scales))


def quantized_params(
    rows: Sequence[Row], params: Mapping[str, Any], sizes: Sizes, mesh: Mesh, kind: str
) -> dict[str, Any]:
    """Returns the parameters, nested by `Row.path`, with each array that `is_quantizable` quantized."""

    def quantized(row: Row) -> Any:
        array = get(params, row.path)
        return _quantizer(row, sizes, mesh, kind, array.dtype)(array) if is_quantizable(row) else array

    return nest({row.path: quantized(row) for row in rows})


def load_quantized_row(
    row: Row, stored: Mapping[str, Stored], sizes: Sizes, *, mesh: Mesh, dtype: np.dtype, kind: str, advance: Advance
) -> Any:
    """Returns what `load_row` does, quantized where it `is_quantizable`: at most one matrix is in memory that is not.

    Raises:
        ConfigError: see `load_row`.
    """
    read = partial(load_row, row, stored, sizes, mesh=mesh, dtype=dtype, advance=advance)
    if not is_quantizable(row):
        return read()
    if not row.stacked:
        return _quantizer(row, sizes, mesh, kind, dtype)(read())
    quantize_one = _quantizer(row._replace(layers=(0,)), sizes, mesh, kind, dtype)
    layers = [quantize_one(read(layer=layer)) for layer in range(row.stack(sizes)[0])]
    places = quantized_shardings(row, sizes, mesh, kind, dtype)
    stack = jax.jit(lambda *parts: jax.tree.map(lambda *x: jnp.concatenate(x), *parts), out_shardings=places)
    return stack(*layers)


def quantized_bytes(row: Row, sizes: Sizes, kind: str) -> int:
    """Returns the bytes that an array of the table takes quantized."""
    abstract = _abstract(row, sizes, kind, np.dtype(np.float32))
    return sum(each.size * each.dtype.itemsize for each in (abstract.codes, abstract.scales))


def _abstract(row: Row, sizes: Sizes, kind: str, dtype: np.dtype) -> Any:
    return jax.eval_shape(lambda x: quantize(x, row, kind), jax.ShapeDtypeStruct(row.shape(sizes), dtype))


def _quantizer(row: Row, sizes: Sizes, mesh: Mesh, kind: str, dtype: np.dtype) -> Callable[[jax.Array], Quantized]:
    places = quantized_shardings(row, sizes, mesh, kind, dtype)
    return jax.jit(lambda x: quantize(x, row, kind), out_shardings=places)
