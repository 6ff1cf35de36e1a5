"""Rows in local files: JSON, JSON lines, CSV, TSV (each also compressed), Parquet and Arrow, read one after another.

Files are read directly: nothing is copied to a cache, values are not converted, and an error names the file and the
line.
"""

import bz2
import csv
import gzip
import io
import lzma
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

from easydel.data.bad_rows import BadRow, raised
from easydel.data.json_files import json_rows
from easydel.data.tables import Row, arrow_rows, parquet_rows
from easydel.errors import DataError

_KINDS = {
    **dict.fromkeys((".json", ".jsonl", ".ndjson"), "json"),
    **dict.fromkeys((".csv", ".tsv"), "csv"),
    ".parquet": "parquet",
    ".arrow": "arrow",
}
_HINTS = {
    **dict.fromkeys((".zip", ".tar", ".tgz"), " Unpack it, and give the folder."),
    **dict.fromkeys((".xlsx", ".xls", ".ods"), " Save the sheet as CSV (UTF-8)."),
    ".txt": " A line of text is not a pair of completions.",
}
# How a file begins that is compressed, by the endings that such files have.
_COMPRESSED = {
    ".gz": b"\x1f\x8b",
    ".bz2": b"BZh",
    ".xz": b"\xfd7zXZ\x00",
    ".zst": b"\x28\xb5\x2f\xfd",
    ".lz4": b"\x04\x22\x4d\x18",
}


class DataFile(NamedTuple):
    """A file, and how to read it where its name does not say so."""

    path: Path
    kind: str | None = None  # json, csv, parquet or arrow; an ending that says which takes precedence
    separator: str | None = None  # of the fields of CSV
    field: str | None = None  # of the object in a JSON file that holds the rows


def is_data_file(path: Path) -> bool:
    """Returns whether a file with this name can be read."""
    return _suffix(path) in _KINDS


def accepted() -> str:
    """Returns the endings of the files that can be read, for a message."""
    return f"{', '.join(_KINDS)} (text files also compressed: {', '.join(_COMPRESSED)})"


def read_file(file: Path | DataFile) -> Iterator[Row]:
    """Yields the rows of one file.

    Raises:
        DataError: naming the file and, in text files, the line.
    """
    return raised(marked_rows(file))


def marked_rows(file: Path | DataFile) -> Iterator[Row]:
    """Yields what `read_file` does, with a `BadRow` for a line of JSON or CSV that is not a row, and goes on after it.

    Raises:
        DataError: a file that cannot be read as a whole.
    """
    file = file if isinstance(file, DataFile) else DataFile(file)
    path = file.path
    kind = _KINDS.get(_suffix(path), file.kind)
    if kind is None:
        raise DataError(
            f"{path}: cannot read files of this type; expected {accepted()}.{_HINTS.get(_suffix(path), '')}"
        )
    try:
        yield from _READERS[kind](file)
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: byte {error.start} is not valid UTF-8 ({error.reason}).") from error
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        if isinstance(error, OSError) and error.errno is not None:  # of the disk, not of what decompresses
            raise
        raise DataError(f"{path}: the compressed file is damaged or cut short ({error}).") from error


def _json(file: DataFile) -> Iterator[Row]:
    with _open(file.path) as text:
        yield from json_rows(text, file.path, file.field)


def _csv(file: DataFile) -> Iterator[Row]:
    path, usual = file.path, csv.field_size_limit(2**31 - 1)  # completions outgrow the usual 128 KiB
    separator = file.separator or ("\t" if _suffix(path) == ".tsv" else ",")
    with _open(path) as text:
        reader = csv.DictReader(text, strict=True, delimiter=separator)
        try:
            repeated = [name for name, times in Counter(reader.fieldnames or ()).items() if times > 1]
            if repeated:
                raise DataError(f"{path}, line 1: two columns are called {repeated[0]!r}: rename or remove one.")
            _check_separator(reader.fieldnames or (), separator, path)
            for row in reader:
                if None in row or None in row.values():
                    row = BadRow(
                        f"{path}, line {reader.line_num}: the row has more or fewer fields than the header, which has "
                        f"{len(reader.fieldnames or [])}."
                    )
                yield row
        except csv.Error as error:
            raise DataError(f"{path}, line {reader.reader.line_num}: {error}.") from error
        finally:
            csv.field_size_limit(usual)


def _check_separator(names: Sequence[str], separator: str, path: Path) -> None:
    """Raises DataError for a header that is a single name with another separator in it."""
    found = next((mark for mark in (";", "\t", ",", "|") if mark != separator and mark in "".join(names)), None)
    if len(names) == 1 and found is not None:
        raise DataError(
            f"{path}, line 1: the header {names[0]!r:.60} is a single column, as fields are separated by {separator!r} "
            f"here, not {found!r}. Write the file with {separator!r}, or set sep: {found!r} in the folder's dataset "
            "card."
        )


_READERS: dict[str, Callable[[DataFile], Iterator[Row]]] = {
    "json": _json,
    "csv": _csv,
    "parquet": lambda file: parquet_rows(file.path),
    "arrow": lambda file: arrow_rows(file.path),
}


def _open(path: Path) -> io.TextIOWrapper:
    with path.open("rb") as file:
        head = file.read(10)
    ending = path.suffix.lower()
    if ending not in _COMPRESSED:
        # bzip2 files begin with three letters, as text files may.
        ending = next((name for name, magic in _COMPRESSED.items() if name != ".bz2" and head.startswith(magic)), "")
    opener = _OPENERS.get(ending)
    file = path.open("rb") if opener is None else opener(path)
    return io.TextIOWrapper(cast(BinaryIO, file), encoding="utf-8-sig", newline="")


def _through_arrow(codec: str) -> Callable[[Path], Any]:
    def opened(path: Path) -> io.BufferedReader:
        import pyarrow  # comes with `datasets`; Python has neither of these before 3.14

        return io.BufferedReader(pyarrow.input_stream(str(path), compression=codec), 1 << 20)

    return opened


_OPENERS: dict[str, Callable[[Path], Any]] = {
    ".gz": gzip.open,
    ".bz2": bz2.open,
    ".xz": lzma.open,
    ".zst": _through_arrow("zstd"),
    ".lz4": _through_arrow("lz4"),
}


def _suffix(path: Path) -> str:
    name = path.name.lower()
    ending = Path(name).suffix
    return Path(name.removesuffix(ending) if ending in _COMPRESSED else name).suffix
