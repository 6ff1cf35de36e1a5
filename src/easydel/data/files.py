"""Rows in local files: JSON, JSON lines, CSV (each also gzipped) and Parquet, read one after another.

Files are read directly, so nothing is copied to a cache and an error names the file and the line.
"""

import csv
import gzip
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

from easydel.errors import DataError

Row = dict[str, Any]


def is_data_file(path: Path) -> bool:
    """Returns whether a file of this name can be read."""
    return _suffix(path) in _READERS


def accepted() -> str:
    """Returns in words which files can be read."""
    return ", ".join(_READERS) + " (text files also with .gz)"


def read_file(path: Path) -> Iterator[Row]:
    """Yields the rows of one file.

    Raises:
        DataError: naming the file and, in text files, the line.
    """
    reader = _READERS.get(_suffix(path))
    if reader is None:
        raise DataError(f"{path}: cannot read files of this kind; expected {accepted()}.")
    try:
        yield from reader(path)
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: byte {error.start} is not UTF-8 text ({error.reason}).") from error
    except (gzip.BadGzipFile, EOFError) as error:
        raise DataError(f"{path}: the compressed file is damaged or cut short ({error}).") from error


def _json(path: Path) -> Iterator[Row]:
    """A list of objects, or one object on each line."""
    with _open(path) as file:
        start = file.read(1)
        while start.isspace():
            start = file.read(1)
    if start != "[":
        yield from _json_lines(path)
        return
    with _open(path) as file:
        try:
            rows = json.load(file)
        except json.JSONDecodeError as error:
            raise DataError(f"{path}, line {error.lineno}, column {error.colno}: {error.msg}.") from error
    for number, row in enumerate(rows):
        if not isinstance(row, dict):
            raise DataError(f"{path}: item {number} of the list is of type {type(row).__name__}, not an object.")
        yield row


def _json_lines(path: Path) -> Iterator[Row]:
    with _open(path) as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line.rstrip())
            except json.JSONDecodeError as error:
                raise DataError(
                    f"{path}, line {number}, column {error.colno}: {error.msg}. Each line must be one JSON object."
                ) from error
            if not isinstance(row, dict):
                raise DataError(
                    f"{path}, line {number}: of type {type(row).__name__}; each line must be one JSON object."
                )
            yield row


def _csv(path: Path) -> Iterator[Row]:
    usual = csv.field_size_limit(2**31 - 1)  # completions outgrow the usual 128 KiB
    with _open(path) as file:
        reader = csv.DictReader(file, strict=True)
        try:
            for row in reader:
                if None in row or None in row.values():
                    raise DataError(
                        f"{path}, line {reader.line_num}: the row has more or fewer fields than the header, which has "
                        f"{len(reader.fieldnames or [])}."
                    )
                yield row
        except csv.Error as error:
            raise DataError(f"{path}, line {reader.reader.line_num}: {error}.") from error
        finally:
            csv.field_size_limit(usual)


def _parquet(path: Path) -> Iterator[Row]:
    import pyarrow  # comes with `datasets`; slow to import
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches():
                yield from batch.to_pylist()
    except pyarrow.ArrowInvalid as error:
        raise DataError(f"{path}: {error}") from error


_READERS: dict[str, Callable[[Path], Iterator[Row]]] = {
    ".json": _json,
    ".jsonl": _json_lines,
    ".csv": _csv,
    ".parquet": _parquet,
}


def _open(path: Path) -> io.TextIOWrapper:
    opener = gzip.open if path.suffix.lower() == ".gz" else open
    return cast(io.TextIOWrapper, opener(path, "rt", encoding="utf-8-sig", newline=""))


def _suffix(path: Path) -> str:
    return Path(path.name.lower().removesuffix(".gz")).suffix
