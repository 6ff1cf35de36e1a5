"""Preference rows from a file, a folder, a glob or a name on the Hugging Face hub."""

import glob
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

from easydel.errors import DataError

_KINDS = {".json": "json", ".jsonl": "json", ".csv": "csv", ".parquet": "parquet"}


def load_rows(name: str, split: str | None) -> Iterable[Mapping[str, Any]]:
    """Returns the rows of one split, such as `train[:90%]`; local files are one split, of any name.

    Files end in .json, .jsonl, .csv or .parquet, also compressed (.gz); those of a folder or a glob are
    joined in the order of their names. Without a split, files are taken whole.

    Raises:
        DataError: no such file, folder, dataset or split; files of several kinds; a hub name without a split.
    """
    import datasets
    from datasets.exceptions import DatasetsError

    files = local_files(name)
    if not files and split is None:
        raise DataError(f"{name!r} is no file or folder here, and of a dataset on the hub a split must be named.")
    data_files, split = None, split or "train"
    if files:
        source = _kind_of(name, files)
        data_files = {re.split(r"[\[+]", split)[0]: files}
        datasets.disable_progress_bars()  # reading local files takes a moment
    else:
        source = name
    try:
        rows = datasets.load_dataset(source, data_files=data_files, split=split)
    except (OSError, ValueError, DatasetsError) as error:
        reason = " ".join(str(error.__cause__ or error).split())
        raise DataError(f"Cannot load split {split!r} of {name!r}: {reason}") from error
    return cast(Iterable[Mapping[str, Any]], rows)  # a split is never the dictionary of splits


def local_files(name: str) -> list[str]:
    """Returns the data files that a path, folder or glob stands for, in order; `[]` for a name on the hub.

    Raises:
        DataError: `name` can only be a path, and nothing is there.
    """
    path = Path(name).expanduser()
    if path.is_file():
        return [str(path)]
    is_glob = any(mark in name for mark in "*?[")
    found = glob.glob(str(path), recursive=True) if is_glob else glob.glob(f"{glob.escape(str(path))}/*")
    files = sorted(file for file in found if _suffix(file) in _KINDS)
    if files:
        return files
    if is_glob or path.is_dir() or path.is_absolute() or name.startswith((".", "~")) or _suffix(name) in _KINDS:
        raise DataError(
            f"There is no data at {name!r}: it should be a file, a folder or a glob of "
            f"{', '.join(_KINDS)} files (.gz too)."
        )
    return []


def _suffix(file: str) -> str:
    return Path(file.removesuffix(".gz")).suffix.lower()


def _kind_of(name: str, files: list[str]) -> str:
    kinds = {_KINDS.get(_suffix(file), _suffix(file)) for file in files}
    if len(kinds) > 1 or not kinds <= set(_KINDS.values()):
        raise DataError(
            f"{name!r} holds files of the kinds {', '.join(sorted(map(repr, kinds)))}; "
            f"it should hold one kind of {', '.join(_KINDS)} (.gz too)."
        )
    return kinds.pop()
