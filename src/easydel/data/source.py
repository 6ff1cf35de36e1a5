"""Rows by the name of a dataset: local files and folders, or the Hugging Face hub."""

import glob
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple, cast

from easydel.data.bad_rows import OnBadRow, raised
from easydel.data.files import DataFile, Row, accepted, is_data_file, marked_rows
from easydel.data.folders import check_config, folder_splits, is_saved, named_files, saved_splits, warn_of_names
from easydel.data.hub import hub_splits, load_hub_split
from easydel.data.tables import as_written
from easydel.errors import DataError, nearest

_PART = re.compile(r"(?P<name>[\w.-]+)(\[(?P<start>-?\d+%?)?:(?P<stop>-?\d+%?)?\])?")


class _Part(NamedTuple):
    """One summand of a split such as `train[:10%]+test`; bounds are numbers of rows, or percent."""

    name: str
    start: str | None
    stop: str | None

    def rows(self, count: int) -> slice:
        """Returns the rows of the part, of `count` rows."""
        start = 0 if self.start is None else _bound(self.start, count)
        return slice(start, count if self.stop is None else _bound(self.stop, count))

    def row_numbers(self) -> tuple[int, int | None]:
        """Returns the bounds as row numbers, where the number of rows is not known.

        Raises:
            DataError: a bound that counts from the end, or in percent.
        """
        for bound in (self.start, self.stop):
            if bound is not None and not bound.isdigit():
                raise DataError(
                    f"split {self.name!r} of a stream cannot be sliced at {bound}, as its number of rows is not known. "
                    "Give row numbers, such as 'train[:10000]', or do not stream it."
                )
        return int(self.start or 0), None if self.stop is None else int(self.stop)


def load_rows(
    name: str, split: str | None = "train", config: str | None = None, *, on_bad_row: OnBadRow = "stop"
) -> Sequence[Row]:
    """Returns the rows of one split of a dataset; with None, of its only split.

    `name` is a file, a glob or a folder of .json, .jsonl, .csv, .tsv (each also compressed), .parquet or .arrow files,
    a folder of `save_to_disk`, or a name on the Hugging Face hub. `split` may be sliced, `train[:90%]` or
    `train[100:200]`, and summed, `train[:5]+train[-5:]`. A file or glob is one split, `train`. A folder has the splits
    that `datasets.load_dataset` finds in it, by the names of its files and folders or its dataset card; any
    other name may be that of a file or folder in it, `train_prefs`. `config` is one of those in the card. With
    `on_bad_row` "skip" a line of JSON or CSV that is not a row is a `BadRow`, for the trainer to leave out.

    Raises:
        DataError: no data, an unknown split or config, none named where there are several, or a file that cannot be
            read, with its line.
    """
    read: dict[str, Sequence[Row]] = {}
    taken: list[Sequence[Row]] = []
    for part, source in _located(name, split, config):
        if part.name not in read:
            read[part.name] = rows = source.load()
            if on_bad_row == "stop" and isinstance(rows, list):
                read[part.name] = list(raised(rows))
        taken.append(_slice(read[part.name], part.rows(len(read[part.name]))))
    rows = taken[0] if len(taken) == 1 else [row for each in taken for row in each]
    if not len(rows):
        raise DataError(f"{name!r} has no rows" + (f" in split {split!r}." if split else "."))
    return rows


@dataclass(frozen=True)
class RowStream:
    """Rows that are read while they are iterated over, from the first each time. Make one with `stream_rows`."""

    parts: tuple[tuple[Iterable[Row], int, int | None], ...]  # rows, the first of them to take, and where to stop
    on_bad_row: OnBadRow = "stop"

    def __iter__(self) -> Iterator[Row]:
        rows = chain.from_iterable(islice(rows, start, stop) for rows, start, stop in self.parts)
        return raised(rows) if self.on_bad_row == "stop" else rows


def stream_rows(
    name: str, split: str | None = "train", config: str | None = None, *, on_bad_row: OnBadRow = "stop"
) -> RowStream:
    """Returns the rows of `load_rows` as a stream, which is read while it is iterated over.

    A slice of a split is given in row numbers, `train[100:200]`.

    Raises:
        DataError: as `load_rows`, for a file when it is read; or a slice that counts from the end, or in percent.
    """
    located = _located(name, split, config)
    return RowStream(tuple((source.stream(), *part.row_numbers()) for part, source in located), on_bad_row)


def local_files(name: str) -> list[Path] | None:
    """Returns the data files of a path or glob, in the order of their names; None for a name on the hub.

    Raises:
        DataError: `name` can only be a path, but no data file is there.
    """
    path = Path(name).expanduser()
    if path.is_file():
        return [path]
    if any(mark in name for mark in "*?["):
        found = map(Path, glob.glob(str(path), recursive=True))
        if files := sorted(file for file in found if is_data_file(file) and file.is_file()):
            return files
        raise DataError(f"no data file at {name!r}; accepted files: {accepted()}.")
    if path.is_absolute() or name.startswith((".", "~")) or is_data_file(path) or name.count("/") > 1:
        siblings = [file.name for file in path.parent.iterdir()] if path.parent.is_dir() else []
        raise DataError(f"file or folder {name!r} does not exist.{nearest(path.name, siblings)}")
    return None


@dataclass(frozen=True)
class _Source:
    """Reads the rows of a split, all at once or one after another."""

    load: Callable[[], Sequence[Row]]
    stream: Callable[[], Iterable[Row]]


@dataclass(frozen=True)
class _Files:
    """The rows of files, read while they are iterated over."""

    files: Sequence[DataFile]

    def __iter__(self) -> Iterator[Row]:
        return chain.from_iterable(map(marked_rows, self.files))


def _of_rows(rows: Iterable[Row]) -> _Source:
    return _Source(lambda: list(rows), lambda: rows)


def _of_dataset(dataset: Any) -> _Source:
    return _Source(lambda: as_written(dataset), lambda: as_written(dataset.to_iterable_dataset()))


def _of_hub(name: str, config: str | None, split: str) -> _Source:
    return _Source(
        lambda: as_written(load_hub_split(name, config, split, streaming=False)),
        lambda: as_written(load_hub_split(name, config, split, streaming=True)),
    )


def _slice(rows: Sequence[Row], part: slice) -> Sequence[Row]:
    if isinstance(rows, list):
        return rows[part]
    return cast(Any, rows).select(range(*part.indices(len(rows))))


def _located(name: str, split: str | None, config: str | None) -> list[tuple[_Part, _Source]]:
    """The parts of a split, each with its source."""
    parts = [] if split is None else _parse_split(split)
    splits = _splits(name, config, [part.name for part in parts])
    if split is None:
        if len(splits) > 1:
            raise DataError(f"{name!r} has several splits, {', '.join(map(repr, splits))}: choose one.")
        parts = [_Part(next(iter(splits)), None, None)]
    for part in parts:
        if part.name not in splits:
            single = list(splits) == ["train"] and not Path(name).expanduser().is_dir()
            raise DataError(
                f"{name!r} has no split {part.name!r}, only {', '.join(map(repr, splits))}."
                + (" A file or glob has one split: train." if single else nearest(part.name, splits))
            )
    return [(part, splits[part.name]) for part in parts]


def _splits(name: str, config: str | None, wanted: Sequence[str]) -> dict[str, _Source]:
    """The sources of the splits of a dataset, by name."""
    if is_saved(name):
        check_config(name, config)
        return {split: _of_dataset(dataset) for split, dataset in saved_splits(name).items()}
    if Path(name).expanduser().is_dir():
        found = folder_splits(name, config)
        warn_of_names(name, found, wanted or list(found))
        for split in wanted:
            if split not in found and (files := named_files(name, split)):
                found[split] = files
        return {split: _of_rows(_Files(files)) for split, files in found.items()}
    files = local_files(name)
    if files is not None:
        check_config(name, config)
        return {"train": _of_rows(_Files([DataFile(file) for file in files]))}
    remote = hub_splits(name, config, wanted)
    return {split: _of_hub(name, config, split) if rows is None else _of_rows(rows) for split, rows in remote.items()}


def _parse_split(split: str) -> list[_Part]:
    parts = []
    for text in split.split("+"):
        match = _PART.fullmatch(text.strip())
        if match is None:
            raise DataError(
                f"split {split!r} is invalid. Write a name such as 'train', optionally with a slice: 'train[:90%]', "
                "'train[100:200]', 'train[-50:]'; join several with '+'."
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
