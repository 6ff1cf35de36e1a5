"""Loads the tensors of a folder into sharded arrays, and gives them back for export, by one weight table."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from easydel.errors import WeightsError, some
from easydel.processes import on_host
from easydel.sharding import sharding_for
from easydel.weights.safetensors import Spec, Stored, same_bytes
from easydel.weights.table import Row, Sizes, get, nest

# Buffers that old checkpoints carry and that follow from the configuration.
HARMLESS_SUFFIXES = (".rotary_emb.inv_freq",)
# Ends of the names that quantised formats have beside, or in place of, a weight.
_QUANTISED = {
    ".qweight": "GPTQ or AWQ",
    ".SCB": "bitsandbytes, 8 bits",
    ".absmax": "bitsandbytes, 4 bits",
    ".weight_scale_inv": "fp8 in blocks",
    ".weight_scale": "compressed-tensors or fp8",
    ".weight_packed": "compressed-tensors",
}


class OutOfRange(WeightsError):
    """Weights that the dtype they are to be written in cannot hold."""


Advance = Callable[[int], None]
"""Is told how many bytes more are there."""


def unseen(count: int) -> None:
    """An `Advance` that shows nobody how far it is."""


def load_params(
    rows: Sequence[Row],
    stored: Mapping[str, Stored],
    sizes: Sizes,
    *,
    mesh: Mesh,
    dtype: np.dtype,
    duplicates: Mapping[str, str] | None = None,
    advance: Advance = unseen,
) -> dict[str, Any]:
    """Returns the nested dict of arrays that the table describes, split over the mesh.

    Each device's part is read from the memory map and cast once, straight from the dtype of the file to
    `dtype`, so a float32 file gives the same float32 bits.

    Args:
        duplicates: names that a file may hold a second time, such as a tied LM head: {name: the name it
            repeats}.
        advance: is told as bytes of the arrays are read, `array_bytes` of them in all.

    Raises:
        WeightsError: missing, unexpected or misshapen tensors, integers for weights, or a duplicate that
            differs.
        ConfigError: an axis that does not divide over the mesh.
    """
    check_tensors(rows, stored, sizes, duplicates or {})
    return nest({row.path: load_row(row, stored, sizes, mesh=mesh, dtype=dtype, advance=advance) for row in rows})


def array_bytes(rows: Sequence[Row], sizes: Sizes, dtype: np.dtype) -> int:
    """Returns the bytes of the arrays of a table, before they are packed and however often they lie on devices."""
    return sum(math.prod(row.shape(sizes)) for row in rows) * dtype.itemsize


def check_tensors(
    rows: Sequence[Row], stored: Mapping[str, Stored], sizes: Sizes, duplicates: Mapping[str, str]
) -> None:
    """Raises WeightsError where the tensors of a folder are not those of the table, see `load_params`."""
    _check_names(rows, stored, sizes, duplicates)
    for name, original in duplicates.items():
        if name in stored and not same_bytes(stored[name], stored[original]):
            raise WeightsError(
                f"{stored[name].file}: {name} differs from {original}, but config.json says they are tied. "
                "Set tie_word_embeddings to false in config.json to use both."
            )


def shardings_of(rows: Sequence[Row], sizes: Sizes, mesh: Mesh) -> dict[str, Any]:
    """Returns where the array of each row lies, nested as the arrays are."""
    return nest({row.path: sharding_for(row.axes, row.shape(sizes), mesh, name=row.name) for row in rows})


def export_specs(
    rows: Sequence[Row], params: Mapping[str, Any], sizes: Sizes, dtype: np.dtype | None
) -> dict[str, Spec]:
    """Returns the name, dtype and shape of every tensor of the file, in the order of `export_tensors`."""
    return {
        name: Spec(dtype or np.dtype(get(params, row.path).dtype), row.file_shape(sizes))
        for row in rows
        for name in row.names(sizes)
    }


def export_tensors(
    rows: Sequence[Row],
    params: Mapping[str, Any],
    sizes: Sizes,
    dtype: np.dtype | None,
    value: Callable[[Mapping[str, Any], Row], Any] = lambda params, row: get(params, row.path),
) -> Iterator[tuple[str, np.ndarray]]:
    """Yields (name, tensor) for the file; one row of the table, or those that share tensors, is on the host at a time.

    Rows that share a tensor stand in the table in the order of their parts.

    Args:
        value: gives the array of a row, where it is not simply there.

    Raises:
        OutOfRange: float16 cannot hold the weights.
    """
    for name in dict.fromkeys(row.name for row in rows):
        sharing = [row for row in rows if row.name == name]
        arrays = [on_host(value(params, row)) for row in sharing]
        for place, tensor_name in zip(np.ndindex(sharing[0].stack(sizes)), sharing[0].names(sizes), strict=True):
            parts = [row.to_file(array[place], sizes) for row, array in zip(sharing, arrays, strict=True)]
            tensor = parts[0] if len(parts) == 1 else np.concatenate(parts)
            yield tensor_name, tensor if dtype is None else _cast(tensor_name, tensor, dtype)


def _cast(name: str, tensor: np.ndarray, dtype: np.dtype) -> np.ndarray:
    with np.errstate(over="ignore"):
        cast = tensor.astype(dtype)
    if dtype == np.float16 and not np.isfinite(cast).all():
        raise OutOfRange(
            f"{name} has values that float16, which ends at 65504, cannot hold: take bfloat16 or float32 (save_dtype)."
        )
    return cast


def load_row(
    row: Row,
    stored: Mapping[str, Stored],
    sizes: Sizes,
    *,
    mesh: Mesh,
    dtype: np.dtype,
    layer: int | None = None,
    advance: Advance = unseen,
) -> jax.Array:
    """Returns the array of one row, split over the mesh; with `layer`, that one of the stack alone."""
    shape, stack = row.shape(sizes), row.stack(sizes)
    names = np.array(row.names(sizes), object).reshape(stack)
    if layer is not None:
        names, shape = names[layer : layer + 1], (1, *shape[1:])
    left = math.prod(shape) * dtype.itemsize  # to be told of; what lies on several devices is read for each

    def tell(count: int) -> None:
        nonlocal left
        advance(min(count, left))
        left -= min(count, left)

    def local_part(index: tuple[slice, ...] | None) -> np.ndarray:
        assert index is not None  # None is for arrays without axes, and weights have some
        wanted, inner = np.asarray(names[index[: len(stack)]], object), index[len(stack) :]
        parts = [row.from_file(stored[name].array(), sizes)[inner] for name in wanted.flat]
        out = np.empty((len(parts), *parts[0].shape), dtype)
        for place, part in enumerate(parts):
            out[place] = part
            tell(out[place].nbytes)
        return out.reshape(*wanted.shape, *parts[0].shape)

    sharding = sharding_for(row.axes, shape, mesh, name=row.name)
    array = jax.make_array_from_callback(shape, sharding, local_part)
    advance(left)
    return array


def _check_names(
    rows: Sequence[Row], stored: Mapping[str, Stored], sizes: Sizes, duplicates: Mapping[str, str]
) -> None:
    expected = {name: row.file_shape(sizes) for row in rows for name in row.names(sizes)}
    where = next(iter(stored.values())).file.parent if stored else "the folder"
    missing = [name for name in expected if name not in stored]
    unexpected = [
        name
        for name in stored
        if name not in expected and name not in duplicates and not name.endswith(HARMLESS_SUFFIXES)
    ]
    if missing or unexpected:
        kinds = {"missing": missing, "unexpected": unexpected}
        found = "; ".join(f"{len(names)} {kind} ({some(names)})" for kind, names in kinds.items() if names)
        hint = _quantised(unexpected) or "Is config.json that of this model?"
        raise WeightsError(f"The tensors in {where} do not fit its config.json: {found}. {hint}")
    for name, shape in expected.items():
        found = stored[name]
        if found.shape != shape:
            raise WeightsError(
                f"{found.file}: {name} has shape {list(found.shape)}; config.json implies {list(shape)}."
            )
        if not jax.numpy.issubdtype(found.dtype, jax.numpy.floating):
            raise WeightsError(
                f"{found.file}: {name} has dtype {found.dtype}; weights must be floating point. "
                "Quantised checkpoints are not supported: load the original model."
            )


def _quantised(unexpected: Sequence[str]) -> str:
    """Returns the quantised format that has tensors of such names, and the way out; '' where there is none."""
    found = next((kind for end, kind in _QUANTISED.items() if any(name.endswith(end) for name in unexpected)), None)
    way_out = "Load the original model; quantization = 'nf4' or 'int8' packs it while it is read."
    return f"Such tensors are those of a quantised format ({found}), which is not read. {way_out}" if found else ""
