"""Rows from where they are kept: a name on the Hugging Face hub, or local JSON, CSV and Parquet files.

Local files are read directly, so nothing is copied to a cache and an error names the file and the line.
"""

import csv
import glob
import gzip
import io
import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

from easydel.errors import DataError, nearest

Row = dict[str, Any]
_PART = re.compile(r"(?P<name>[\w.-]+)(\[(?P<start>-?\d+%?)?:(?P<stop>-?\d+%?)?\])?")
# Names under which a folder may keep a split: `train.jsonl`, `test-00000-of-00001.parquet`, ...
_ALIASES = {
    "train": ("train", "training"),
    "test": ("test", "testing", "eval", "evaluation"),
    "validation": ("validation", "valid", "dev", "val"),
}


class _Part(NamedTuple):
    """One summand of a split such as `train[:10%]+test`; bounds are numbers of rows, or percent."""

    name: str
    start: str | None
    stop: str | None

    def rows(self, count: int) -> slice:
        start = 0 if self.start is None else _bound(self.start, count)
        return slice(start, count if self.stop is None else _bound(self.stop, count))


def load_rows(name: str, split: str | None = "train") -> Sequence[Row]:
    """Returns the rows of one split of a dataset; with None, of the only split there is.

    `name` is a file, a glob or a folder of .json, .jsonl, .csv (each also .gz) or .parquet files, or a name on
    the Hugging Face hub. `split` may be sliced, `train[:90%]` or `train[100:200]`, and summed,
    `train[:5]+train[-5:]`. A file or glob is one split, `train`. In a folder the files whose names begin with a
    split's name belong to it; where no file is named after a split they are all `train`.

    Raises:
        DataError: nothing there, no such split, none named where there are several, or a file that cannot be read,
            with its line.
    """
    parts = [] if split is None else _parse_split(split)
    path = Path(name).expanduser()
    if (path / "dataset_info.json").is_file() or (path / "dataset_dict.json").is_file():
        raise DataError(
            f"{name!r} was written by Dataset.save_to_disk. Load it with datasets.load_from_disk and pass the dataset, "
            "or write it with Dataset.to_json."
        )
    files = local_files(name)
    if files is None:
        return _from_hub(name, split)
    splits = _splits(files) if path.is_dir() else {"train": files}
    if split is None:
        if len(splits) > 1:
            raise DataError(f"{name!r} has the splits {', '.join(map(repr, splits))}: name the one to take.")
        parts = [_Part(next(iter(splits)), None, None)]
    rows: list[Row] = []
    read: dict[str, list[Row]] = {}
    for part in parts:
        if part.name not in splits:
            raise DataError(
                f"{name!r} has no split {part.name!r}, only {', '.join(map(repr, splits))}."
                + (" A file or glob is one split: train." if not path.is_dir() else nearest(part.name, splits))
            )
        if part.name not in read:
            read[part.name] = [row for file in splits[part.name] for row in read_file(file)]
        rows += read[part.name][part.rows(len(read[part.name]))]
    if not rows:
        raise DataError(f"{name!r} has no rows" + (f" in split {split!r}." if split else "."))
    return rows


def local_files(name: str) -> list[Path] | None:
    """Returns the data files of a path, glob or folder, in the order of their names; None for a name on the hub.

    Raises:
        DataError: `name` can only be a path, and no data file is there.
    """
    path = Path(name).expanduser()
    if path.is_file():
        return [path]
    is_glob = any(mark in name for mark in "*?[")
    if path.is_dir() or is_glob:
        found = path.rglob("[!.]*") if path.is_dir() else map(Path, glob.glob(str(path), recursive=True))
        if files := sorted(file for file in found if _suffix(file) in _READERS and file.is_file()):
            return files
        raise DataError(f"no data file at {name!r}: expected {_accepted()} files.")
    if path.is_absolute() or name.startswith((".", "~")) or _suffix(path) in _READERS or name.count("/") > 1:
        siblings = [file.name for file in path.parent.iterdir()] if path.parent.is_dir() else []
        raise DataError(f"there is no file or folder {name!r}.{nearest(path.name, siblings)}")
    return None


def read_file(path: Path) -> Iterator[Row]:
    """Yields the rows of one file.

    Raises:
        DataError: naming the file and, in text files, the line.
    """
    reader = _READERS.get(_suffix(path))
    if reader is None:
        raise DataError(f"{path}: cannot read files of this kind; expected {_accepted()}.")
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


def _from_hub(name: str, split: str | None) -> Sequence[Row]:
    if split is None:
        raise DataError(f"there is no file or folder {name!r}, and of a dataset on the hub a split must be named.")
    import datasets
    from datasets.exceptions import DatasetsError

    try:
        rows = datasets.load_dataset(name, split=split)
    except (OSError, ValueError, DatasetsError) as error:
        reason = " ".join(str(error).split())
        raise DataError(
            f"cannot load split {split!r} of {name!r} (no file or folder here) from the Hugging Face hub: {reason}"
        ) from error
    return cast(Sequence[Row], rows)  # with a split named it is one table of rows


def _parse_split(split: str) -> list[_Part]:
    parts = []
    for text in split.split("+"):
        match = _PART.fullmatch(text.strip())
        if match is None:
            raise DataError(
                f"split {split!r} cannot be read. Write a name such as 'train', with a slice if need be: "
                "'train[:90%]', 'train[100:200]', 'train[-50:]'; join several with '+'."
            )
        for bound in (match["start"], match["stop"]):
            if bound and bound.endswith("%") and not -100 <= int(bound[:-1]) <= 100:
                raise DataError(f"split {split!r}: {bound} is not between -100% and 100%.")
        parts.append(_Part(match["name"], match["start"], match["stop"]))
    return parts


def _bound(text: str, count: int) -> int:
    """A bound as a row number; percent round to the nearest row, as in `datasets`."""
    at = round(int(text[:-1]) * count / 100) if text.endswith("%") else int(text)
    return max(at + count, 0) if text.startswith("-") else at


def _splits(files: list[Path]) -> dict[str, list[Path]]:
    """The files of a folder by the split that they are named after; all are `train` if none is."""
    splits: dict[str, list[Path]] = {}
    for split, names in _ALIASES.items():
        pattern = re.compile(rf"({'|'.join(names)})([-_.].*)?")
        if mine := [file for file in files if pattern.fullmatch(file.name.lower())]:
            splits[split] = mine
    return splits or {"train": files}


def _open(path: Path) -> io.TextIOWrapper:
    opener = gzip.open if path.suffix.lower() == ".gz" else open
    return cast(io.TextIOWrapper, opener(path, "rt", encoding="utf-8-sig", newline=""))


def _suffix(path: Path) -> str:
    return Path(path.name.lower().removesuffix(".gz")).suffix


def _accepted() -> str:
    return ", ".join(_READERS) + " (text files also with .gz)"
