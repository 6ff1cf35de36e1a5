"""Loads the tensors of a folder into sharded arrays, and gives them back for export, by one weight table."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
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
# Ends of the names that quantized formats have beside, or in place of, a weight.
_QUANTIZED_FORMATS = {
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
"""Called with the number of bytes read since the last call."""


def _hint(missing: Sequence[str], unexpected: Sequence[str]) -> str:
    """Returns what to do about tensors of a model that are not those of its table."""
    for end, kind in _QUANTIZED_FORMATS.items():
        if any(name.endswith(end) for name in unexpected):
            return (
                f"Such tensors are those of a quantized format ({kind}), which is not read. Load the original model; "
                "quantization = 'nf4' or 'int8' quantizes it while it is read."
            )
    return "Is config.json that of this model?"


def check_tensors(
    rows: Sequence[Row],
    stored: Mapping[str, Stored],
    sizes: Sizes,
    *,
    duplicates: Mapping[str, str] = MappingProxyType({}),
    fits: str = "config.json",
    hint: Callable[[Sequence[str], Sequence[str]], str] = _hint,
) -> None:
    """Checks that the tensors of a folder are those of the table.

    Args:
        duplicates: names that a file may hold a second time, such as a tied LM head: {name: the name it repeats}.
        fits: what the table follows from, for messages.
        hint: what to do, from the names that are missing, and those that are in no row.

    Raises:
        WeightsError: missing, unexpected or misshapen tensors, integers for weights, or a duplicate that differs.
    """
    expected = {name: row.file_shape(sizes) for row in rows for name in row.names(sizes)}
    where = next(iter(stored.values())).file.parent if stored else "the folder"
    missing = [name for name in expected if name not in stored]
    known = {*expected, *duplicates}
    unexpected = [name for name in stored if name not in known and not name.endswith(HARMLESS_SUFFIXES)]
    if missing or unexpected:
        kinds = {"missing": missing, "unexpected": unexpected}
        found = "; ".join(f"{len(names)} {kind} ({some(names)})" for kind, names in kinds.items() if names)
        raise WeightsError(f"The tensors in {where} do not fit {fits}: {found}. {hint(missing, unexpected)}")
    for name, shape in expected.items():
        found = stored[name]
        if found.shape != shape:
            raise WeightsError(
                f"{found.file}: {name} has shape {list(found.shape)}; {list(shape)} follows from {fits}. {hint([], [])}"
            )
        if not jax.numpy.issubdtype(found.dtype, jax.numpy.floating):
            raise WeightsError(
                f"{found.file}: {name} has dtype {found.dtype}; weights must be floating point. "
                "Quantized checkpoints are not supported: load the original model."
            )
    for name, original in duplicates.items():
        if name in stored and not same_bytes(stored[name], stored[original]):
            raise WeightsError(
                f"{stored[name].file}: {name} differs from {original}, but config.json says they are tied. "
                "Set tie_word_embeddings to false in config.json to use both."
            )


def array_bytes(rows: Sequence[Row], sizes: Sizes, dtype: np.dtype) -> int:
    """Returns the bytes of the arrays of a table, before they are quantized and however often they lie on devices."""
    return sum(math.prod(row.shape(sizes)) for row in rows) * dtype.itemsize


def shardings_of(rows: Sequence[Row], sizes: Sizes, mesh: Mesh) -> dict[str, Any]:
    """Returns where the array of each row lies, nested as the arrays are."""
    return nest({row.path: sharding_for(row.axes, row.shape(sizes), mesh, name=row.name) for row in rows})


def export_specs(
    rows: Sequence[Row], params: Mapping[str, Any], sizes: Sizes, dtype: np.dtype | None
) -> dict[str, Spec]:
    """Returns the name, dtype and shape of every tensor of the file, in the order of `export_tensors`."""
    return {
        name: Spec(np.dtype(row.dtype or dtype or get(params, row.path).dtype), row.file_shape(sizes))
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
    for shared in dict.fromkeys((row.name, row.layers) for row in rows):
        sharing = [row for row in rows if (row.name, row.layers) == shared]
        arrays = [on_host(value(params, row)) for row in sharing]
        for place, tensor_name in zip(np.ndindex(sharing[0].stack(sizes)), sharing[0].names(sizes), strict=True):
            parts = [row.to_file(array[place], sizes) for row, array in zip(sharing, arrays, strict=True)]
            tensor = parts[0] if len(parts) == 1 else np.concatenate(parts)
            yield tensor_name, tensor if dtype is None or sharing[0].dtype else _cast(tensor_name, tensor, dtype)


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
    advance: Advance = lambda count: None,
) -> jax.Array:
    """Returns the array of one row, split over the mesh; with `layer`, that one of the stack alone.

    Each device's part is read from the memory map and cast once, straight from the dtype of the file to `dtype`, so a
    float32 file gives the same float32 bits.

    Args:
        advance: called as bytes of the array are read.

    Raises:
        ConfigError: an axis that does not divide over the mesh.
    """
    dtype = dtype if row.dtype is None else np.dtype(row.dtype)
    shape, stack = row.shape(sizes), row.stack(sizes)
    names = np.array(row.names(sizes), object).reshape(stack)
    if layer is not None:
        names, shape = names[layer : layer + 1], (1, *shape[1:])
    left = math.prod(shape) * dtype.itemsize  # to be reported; what lies on several devices is read for each

    def report(count: int) -> None:
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
            report(out[place].nbytes)
        return out.reshape(*wanted.shape, *parts[0].shape)

    sharding = sharding_for(row.axes, shape, mesh, name=row.name)
    array = jax.make_array_from_callback(shape, sharding, local_part)
    advance(left)
    return array


def load_params(
    rows: Sequence[Row],
    stored: Mapping[str, Stored],
    sizes: Sizes,
    *,
    mesh: Mesh,
    dtype: np.dtype,
    advance: Advance = lambda count: None,
    load: Callable[..., Any] = load_row,
) -> dict[str, Any]:
    """Returns the nested dict of arrays that the table describes, of tensors that `check_tensors` let by.

    Args:
        advance: called as bytes of the arrays are read, `array_bytes` of them in all.
        load: of one row, with the arguments of `load_row`.

    Raises:
        ConfigError: an axis that does not divide over the mesh.
    """
    return nest({row.path: load(row, stored, sizes, mesh=mesh, dtype=dtype, advance=advance) for row in rows})
