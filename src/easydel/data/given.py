"""Rows however they are given in Python: a list, a dataset, a table, a data frame or a dict of columns."""

import sys
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from easydel.data.column_names import ANSWERS, IDS, IGNORE, SYSTEMS, renamed
from easydel.errors import DataError, closest

Row = Mapping[str, Any]
_MAKES_ROWS = {("pandas", "DataFrame"): "frame", ("polars", "DataFrame"): "dicts", ("pyarrow", "Table"): "table"}


def as_rows(rows: Any, columns: Mapping[str, Any] = MappingProxyType({})) -> Iterable[Row]:
    """Returns what gives one row after another; most rows already do.

    >>> as_rows({"prompt": ["a", "b"], "chosen": ["c", "d"], "rejected": ["e", "f"]})[1]
    {'prompt': 'b', 'chosen': 'd', 'rejected': 'f'}

    Raises:
        DataError: what is easily given in place of rows: a name, a single row, or a dict of splits.
    """
    if isinstance(rows, str | Path):
        raise DataError(
            f"{str(rows)!r} is the name of a dataset, not its rows: read them with easydel.data.source.load_rows."
        )
    if isinstance(rows, Mapping):
        return _from_columns(rows, columns)
    for (module, name), way in _MAKES_ROWS.items():
        if module in sys.modules and isinstance(rows, getattr(sys.modules[module], name)):
            if way == "frame":
                # What a data frame lacks is NaN there, also in columns of text.
                return rows.astype(object).where(rows.notna(), None).to_dict("records")
            return rows.to_dicts() if way == "dicts" else rows.to_pylist()
    if not isinstance(rows, Iterable):
        way_out = "call it, and give what it returns" if callable(rows) else "give a list of dicts, or a dataset"
        raise DataError(f"rows of type {type(rows).__name__} cannot be read one after another: {way_out}.")
    return rows


def is_of_columns(rows: Any, columns: Mapping[str, Any] = MappingProxyType({})) -> bool:
    """Returns whether a dict holds the columns of rows, or of one row, and not splits or sets.

    >>> is_of_columns({"chosen": [], "rejected": []}), is_of_columns({"train": []})
    (True, False)
    """
    named = {name for name in columns.values() if isinstance(name, str)}
    return isinstance(rows, Mapping) and bool(rows.keys() & (ANSWERS | {*IDS} | named))


def check_columns(rows: Sequence[Row], columns: Mapping[str, Any]) -> None:
    """Raises DataError where none of the first rows has a column that `columns` names."""
    known = {str(name): None for row in rows for name in row}
    for role, named in columns.items():
        for name in named if role == IGNORE else [named]:
            if name not in known:
                similar = closest(name, known)
                hint = f" Did you mean {similar!r}?" if similar else ""
                raise DataError(
                    f"columns: {role}={name} names a column that the rows do not have. Theirs: "
                    f"{', '.join(map(repr, known))}.{hint}"
                )


def warn_of_systems(rows: Sequence[Row], columns: Mapping[str, Any]) -> None:
    """Warns where a system text makes conversations of some rows, and others without one stay text."""
    kinds: dict[bool, int] = {}
    for number, row in enumerate(rows):
        names = renamed(row, columns, number)
        system = next((names[name] for name in SYSTEMS if name in names), None)
        if system is not None and isinstance(row.get(names.get("prompt", "")), str):
            kinds.setdefault(isinstance(row[system], str) and bool(row[system]), number)
    if len(kinds) > 1:
        warnings.warn(
            f"rows with a system text, such as row {kinds[True]}, are conversations, and those without one, such as "
            f"row {kinds[False]}, are text as it stands. If a user says what is in 'prompt', read it as that: "
            "columns question=prompt.",
            stacklevel=2,
        )


def _from_columns(given: Mapping[str, Any], columns: Mapping[str, Any]) -> list[Row]:
    names = ", ".join(map(repr, given))
    if not is_of_columns(given, columns):
        raise DataError(f"a dict with the keys {names} is not a list of rows. Of a dict of splits, give one split.")
    values = {name: _listed(value) for name, value in given.items()}
    if wrong := [name for name, value in values.items() if not isinstance(value, list)]:
        raise DataError(
            f"a dict with the keys {names} is one row, or columns of which {wrong[0]!r} is no list: give a list of "
            "rows, or a dict of columns."
        )
    lengths = {name: len(value) for name, value in values.items()}
    if len(set(lengths.values())) > 1:
        raise DataError(
            f"the columns are not of one length: {', '.join(f'{n} {count}' for n, count in lengths.items())}."
        )
    return [dict(zip(values, each, strict=True)) for each in zip(*values.values(), strict=True)]


def _listed(column: Any) -> Any:
    if isinstance(column, str | bytes | Mapping) or not isinstance(column, Iterable):
        return column
    return list(column.tolist() if isinstance(column, np.ndarray) else column)
