"""The rows that are not at fault, as JSON lines, and beside them the others with the reasons."""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from easydel.data.bad_rows import BadRow
from easydel.data.python_rows import Row
from easydel.errors import ConfigError


class Written(NamedTuple):
    """Where rows were written to, and how many."""

    kept: Path
    left_out: Path
    rows_kept: int
    rows_left_out: int

    @property
    def text(self) -> str:
        """The same in words."""
        return (
            f"kept        {self.rows_kept:,} rows, in {self.kept}\n"
            f"left out    {self.rows_left_out:,} rows, in {self.left_out}"
        )


def left_out_file(file: Path) -> Path:
    """Returns where the rows at fault go.

    >>> left_out_file(Path("a/cleaned.jsonl")).name
    'cleaned.left_out.jsonl'
    """
    return file.with_name(f"{file.stem}.left_out.jsonl")


def check_new(file: Path) -> None:
    """Raises ConfigError where one of the two files exists, be it the input, or there is no folder for them."""
    for each in (file, left_out_file(file)):
        if each.exists():
            raise ConfigError(f"--write {each} exists: nothing is written over. Name a file that does not exist yet.")
    if not file.parent.is_dir() or not os.access(file.parent, os.W_OK):
        raise ConfigError(f"--write {file}: the folder {file.parent} is missing or not writable. Name another one.")


def write_cleaned(file: Path, rows: Iterable[tuple[Row, str]], reasons: Mapping[int, Sequence[str]]) -> Written:
    """Writes the rows without a reason to `file`, as they are, and the others to `left_out_file(file)`.

    Both appear whole, and never over another file.

    Raises:
        ConfigError: see `check_new`.
    """
    check_new(file)
    files = (file, left_out_file(file))
    parts = [each.with_name(f".{each.name}.{os.getpid()}.part") for each in files]
    counts = [0, 0]
    try:
        with parts[0].open("x", encoding="utf-8") as kept, parts[1].open("x", encoding="utf-8") as others:
            for number, (row, _) in enumerate(rows):
                why = reasons.get(number)
                counts[why is not None] += 1
                if why is None:
                    kept.write(_line(row))
                else:
                    values = None if isinstance(row, BadRow) or not isinstance(row, Mapping) else row
                    others.write(_line({"row": number, "reasons": list(why), "values": values}))
        check_new(file)
        for part, each in zip(parts, files, strict=True):
            part.rename(each)
    finally:
        for part in parts:
            with suppress(FileNotFoundError):
                part.unlink()
    return Written(*files, *counts)


def _line(row: Mapping[str, Any]) -> str:
    return json.dumps(dict(row), default=_plain) + "\n"


def _plain(value: Any) -> Any:
    """Returns a value of numpy or Arrow as one of JSON; what JSON cannot hold, as a date, as its text."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return dict(value) if isinstance(value, Mapping) else str(value)
