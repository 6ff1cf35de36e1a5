"""Rows from where they are kept: a name on the Hugging Face hub, or local files."""

import glob
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple, cast

from easydel.data.files import Row, accepted, is_data_file, read_file
from easydel.errors import DataError, nearest

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

    def row_numbers(self) -> tuple[int, int | None]:
        """The bounds, without knowing how many rows there are."""
        for bound in (self.start, self.stop):
            if bound is not None and not bound.isdigit():
                raise DataError(
                    f"the split {self.name!r} of a stream cannot be cut at {bound}: how many rows it has shows at its "
                    "end. Give row numbers, such as 'train[:10000]', or do not stream it."
                )
        return int(self.start or 0), None if self.stop is None else int(self.stop)


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
    parts = _located(name, split)
    if parts is None:
        # With a split named it is one table of rows.
        return cast(Sequence[Row], _load_dataset(name, _named(name, split), streaming=False))
    read: dict[str, list[Row]] = {}
    rows: list[Row] = []
    for part, files in parts:
        if part.name not in read:
            read[part.name] = [row for file in files for row in read_file(file)]
        rows += read[part.name][part.rows(len(read[part.name]))]
    if not rows:
        raise DataError(f"{name!r} has no rows" + (f" in split {split!r}." if split else "."))
    return rows


@dataclass(frozen=True)
class RowStream:
    """Rows that are read as they are iterated over, from the first each time. Make one with `stream_rows`."""

    parts: tuple[tuple[Iterable[Row], int, int | None], ...]  # rows, the first of them to take, and where to stop

    def __iter__(self) -> Iterator[Row]:
        return chain.from_iterable(islice(rows, start, stop) for rows, start, stop in self.parts)


def stream_rows(name: str, split: str | None = "train") -> RowStream:
    """Returns the rows of `load_rows` without reading them: a stream, which is read as it is iterated over.

    A slice of a split is given in row numbers, `train[100:200]`.

    Raises:
        DataError: as `load_rows`, of a file when it is read; or a slice that counts from the end, or in percent.
    """
    located = _located(name, split)
    sources: list[tuple[_Part, Iterable[Row]]]
    if located is not None:
        sources = [(part, _Files(tuple(files))) for part, files in located]
    else:
        parts = _parse_split(_named(name, split))
        sources = [(part, _load_dataset(name, part.name, streaming=True)) for part in parts]
    return RowStream(tuple((rows, *part.row_numbers()) for part, rows in sources))


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
        if files := sorted(file for file in found if is_data_file(file) and file.is_file()):
            return files
        raise DataError(f"no data file at {name!r}: expected {accepted()} files.")
    if path.is_absolute() or name.startswith((".", "~")) or is_data_file(path) or name.count("/") > 1:
        siblings = [file.name for file in path.parent.iterdir()] if path.parent.is_dir() else []
        raise DataError(f"there is no file or folder {name!r}.{nearest(path.name, siblings)}")
    return None


def _located(name: str, split: str | None) -> list[tuple[_Part, list[Path]]] | None:
    """The parts of a split with the files that hold them; None for a name on the hub."""
    parts = [] if split is None else _parse_split(split)
    path = Path(name).expanduser()
    if (path / "dataset_info.json").is_file() or (path / "dataset_dict.json").is_file():
        raise DataError(
            f"{name!r} was written by Dataset.save_to_disk. Load it with datasets.load_from_disk and pass the dataset, "
            "or write it with Dataset.to_json."
        )
    files = local_files(name)
    if files is None:
        return None
    splits = _splits(files) if path.is_dir() else {"train": files}
    if split is None:
        if len(splits) > 1:
            raise DataError(f"{name!r} has the splits {', '.join(map(repr, splits))}: name the one to take.")
        parts = [_Part(next(iter(splits)), None, None)]
    for part in parts:
        if part.name not in splits:
            raise DataError(
                f"{name!r} has no split {part.name!r}, only {', '.join(map(repr, splits))}."
                + (" A file or glob is one split: train." if not path.is_dir() else nearest(part.name, splits))
            )
    return [(part, splits[part.name]) for part in parts]


@dataclass(frozen=True)
class _Files:
    """The rows of files, read as they are iterated over."""

    paths: tuple[Path, ...]

    def __iter__(self) -> Iterator[Row]:
        return chain.from_iterable(map(read_file, self.paths))


def _load_dataset(name: str, split: str, *, streaming: bool) -> Any:
    import datasets
    from datasets.exceptions import DatasetsError

    try:
        return datasets.load_dataset(name, split=split, streaming=streaming)
    except (OSError, ValueError, DatasetsError) as error:
        reason = " ".join(str(error).split())
        raise DataError(
            f"cannot load split {split!r} of {name!r} (no file or folder here) from the Hugging Face hub: {reason}"
        ) from error


def _named(name: str, split: str | None) -> str:
    if split is None:
        raise DataError(f"there is no file or folder {name!r}, and of a dataset on the hub a split must be named.")
    return split


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
