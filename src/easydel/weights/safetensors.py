"""The safetensors format: read through a memory map with every bound checked, written one tensor at a time.

Own code, because the library's numpy path stores wrong values for arrays that are not contiguous, writes
files that only their owner may read, and cannot hand out a slice of a bfloat16 tensor without torch.
"""

import json
import struct
from collections.abc import Iterable, Iterator, Mapping
from math import prod
from pathlib import Path
from typing import NamedTuple

import ml_dtypes
import numpy as np

from easydel.errors import WeightsError
from easydel.json_objects import parse_object

DTYPES: dict[str, np.dtype] = {
    "F64": np.dtype(np.float64),
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "F8_E4M3": np.dtype(ml_dtypes.float8_e4m3fn),
    "F8_E5M2": np.dtype(ml_dtypes.float8_e5m2),
    "I64": np.dtype(np.int64),
    "I32": np.dtype(np.int32),
    "I16": np.dtype(np.int16),
    "I8": np.dtype(np.int8),
    "U8": np.dtype(np.uint8),
    "BOOL": np.dtype(np.bool_),
}
_CODES = {dtype: code for code, dtype in DTYPES.items()}
# The format's own limit: a longer header is a corrupt length field, not a model.
MAX_HEADER_BYTES = 100_000_000
INDEX_NAME = "model.safetensors.index.json"
WEIGHTS_NAME = "model.safetensors"


class Stored(NamedTuple):
    """A tensor in a file: what the header says about it, and its bytes, which are read when touched."""

    file: Path
    dtype: np.dtype
    shape: tuple[int, ...]
    data: np.ndarray

    def array(self) -> np.ndarray:
        """Returns the tensor as a read-only view of the memory map."""
        return self.data.view(self.dtype).reshape(self.shape)


class Spec(NamedTuple):
    """A tensor to be written: its dtype and shape, known before its values are fetched."""

    dtype: np.dtype
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """The bytes it takes in the file."""
        return prod(self.shape) * self.dtype.itemsize


def same_bytes(one: Stored, other: Stored) -> bool:
    """Returns whether two tensors have the same dtype, shape and bits."""
    return (one.dtype, one.shape) == (other.dtype, other.shape) and bool(np.array_equal(one.data, other.data))


def read_file(path: Path) -> dict[str, Stored]:
    """Returns the tensors of one file by name, checked against its size.

    Raises:
        WeightsError: the file is cut short or corrupt, or has a dtype that cannot be read.
    """
    found = path.stat().st_size
    if found < 8:
        raise WeightsError(f"{path} is cut short: {found} bytes, and a safetensors file has at least 8.")
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        if length > MAX_HEADER_BYTES:
            raise WeightsError(f"{path} is corrupt: a header of {length} bytes (limit {MAX_HEADER_BYTES}).")
        if 8 + length > found:
            raise WeightsError(f"{path} is cut short: {found} bytes, its header alone needs {8 + length}.")
        text = file.read(length)
    header = parse_object(text, f"{path} is corrupt: its header", WeightsError)
    header.pop("__metadata__", None)
    entries = {name: _entry(path, name, entry) for name, entry in header.items()}
    expected = 8 + length + max((stop for _, _, _, stop in entries.values()), default=0)
    if found != expected:
        problem = "is cut short" if found < expected else "has bytes that belong to no tensor"
        raise WeightsError(f"{path} {problem}: {found} bytes found, {expected} expected.")
    nothing = np.empty(0, np.uint8)  # cannot be mapped
    data = nothing if expected == 8 + length else np.memmap(path, np.uint8, "r", offset=8 + length)
    return {name: Stored(path, dtype, shape, data[a:b]) for name, (dtype, shape, a, b) in entries.items()}


def write_files(
    folder: Path, specs: Mapping[str, Spec], values: Iterable[tuple[str, np.ndarray]], *, max_shard_size: int
) -> None:
    """Writes tensors to `model.safetensors`, or to shards of at most `max_shard_size` bytes and their index.

    `values` gives every tensor of `specs`, in that order; each is written and dropped before the next is
    asked for. Files are readable as the process's umask allows.
    """
    shards = _split(specs, max_shard_size)
    count = len(shards)
    files = [WEIGHTS_NAME] if count == 1 else [f"model-{i:05}-of-{count:05}.safetensors" for i in range(1, count + 1)]
    stream = iter(values)
    for file, shard in zip(files, shards, strict=True):
        write_file(folder / file, {name: specs[name] for name in shard}, stream)
    if count > 1:
        weight_map = {name: file for file, shard in zip(files, shards, strict=True) for name in shard}
        total = sum(spec.nbytes for spec in specs.values())
        write_json(folder / INDEX_NAME, {"metadata": {"total_size": total}, "weight_map": weight_map})


def write_json(path: Path, value: Mapping[str, object]) -> None:
    """Writes a JSON object."""
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _entry(path: Path, name: str, entry: object) -> tuple[np.dtype, tuple[int, ...], int, int]:
    """Returns (dtype, shape, first byte, end byte) of one header entry."""
    try:
        code, shape, (start, stop) = entry["dtype"], entry["shape"], entry["data_offsets"]  # type: ignore[index]
        shape = tuple(shape)
        numbers = (*shape, start, stop)
        sound = isinstance(code, str) and all(type(number) is int and number >= 0 for number in numbers)
    except (KeyError, TypeError, ValueError):
        sound, code, shape, start, stop = False, "", (), 0, 0
    if not sound:
        raise WeightsError(f"{path} is corrupt: the header entry of tensor {name!r} is {entry!r}.")
    if code not in DTYPES:
        raise WeightsError(f"{path}: tensor {name!r} has dtype {code!r}; readable are {', '.join(DTYPES)}.")
    spec = Spec(DTYPES[code], shape)
    if stop - start != spec.nbytes:
        raise WeightsError(
            f"{path} is corrupt: tensor {name!r} {code} {list(shape)} needs {spec.nbytes} bytes, "
            f"its header gives it {stop - start}."
        )
    return spec.dtype, shape, start, stop


def _split(specs: Mapping[str, Spec], limit: int) -> list[list[str]]:
    """Returns names in order, cut so that no group is over the limit unless one tensor alone is."""
    groups: list[list[str]] = [[]]
    size = 0
    for name, spec in specs.items():
        if groups[-1] and size + spec.nbytes > limit:
            groups.append([])
            size = 0
        groups[-1].append(name)
        size += spec.nbytes
    return groups


def write_file(path: Path, specs: Mapping[str, Spec], values: Iterator[tuple[str, np.ndarray]]) -> None:
    """Writes one file of the tensors of `specs`, which `values` gives in that order."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}  # what transformers asks for
    offset = 0
    for name, spec in specs.items():
        stop = offset + spec.nbytes
        header[name] = {"dtype": _CODES[spec.dtype], "shape": list(spec.shape), "data_offsets": [offset, stop]}
        offset = stop
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the format aligns the data to 8 bytes
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, spec in specs.items():
            given, array = next(values)
            if (given, array.dtype, array.shape) != (name, spec.dtype, spec.shape):
                raise WeightsError(f"Writing {name} {spec}: got {given} {array.dtype} {array.shape}.")
            file.write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
