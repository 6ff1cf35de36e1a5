"""Rows as they are given in Python: a list, a dataset, a table, a data frame or a dict of columns."""

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from easydel.data.column_names import COMPLETIONS, IDS, IGNORE, READ, SYSTEMS, renamed
from easydel.data.plain_values import rows_of
from easydel.errors import DataError, nearest, warn

Row = Mapping[str, Any]
_MAKES_ROWS: dict[tuple[str, str], Callable[[Any], Sequence[Row]]] = {
    # What a data frame lacks is NaN there, also in columns of text.
    ("pandas", "DataFrame"): lambda rows: rows.astype(object).where(rows.notna(), None).to_dict("records"),
    ("polars", "DataFrame"): lambda rows: rows.to_dicts(),
    ("pyarrow", "Table"): lambda rows: rows.to_pylist(),
}


def as_rows(rows: Any, columns: Mapping[str, Any] = MappingProxyType({})) -> Iterable[Row]:
    """Returns rows that can be iterated over; most are given as such.

    >>> as_rows({"prompt": ["a", "b"], "chosen": ["c", "d"], "rejected": ["e", "f"]})[1]
    {'prompt': 'b', 'chosen': 'd', 'rejected': 'f'}

    Raises:
        DataError: a value that is not rows: a name, a single row, a dict of splits, or columns that differ in length.
    """
    if isinstance(rows, str | Path):
        raise DataError(
            f"{str(rows)!r} is the name of a dataset, not its rows: load them with easydel.data.source.load_rows."
        )
    if isinstance(rows, Mapping):
        return _from_columns(rows, columns)
    for (module, name), made in _MAKES_ROWS.items():
        if module in sys.modules and isinstance(rows, getattr(sys.modules[module], name)):
            return made(rows)
    if not isinstance(rows, Iterable):
        hint = "call it, and give what it returns" if callable(rows) else "give a list of dicts, or a dataset"
        raise DataError(f"rows of type {type(rows).__name__} cannot be iterated over: {hint}.")
    return rows


def is_of_columns(rows: Any, columns: Mapping[str, Any] = MappingProxyType({})) -> bool:
    """Returns whether a dict holds the columns of rows, or of one row, and not splits or datasets.

    >>> is_of_columns({"chosen": [], "rejected": []}), is_of_columns({"train": []})
    (True, False)
    """
    named = {name for name in columns.values() if isinstance(name, str)}
    return isinstance(rows, Mapping) and bool(rows.keys() & (COMPLETIONS | {*IDS} | named))


def check_columns(rows: Sequence[Row], columns: Mapping[str, Any]) -> None:
    """Checks that some of the first rows has each column that `columns` names.

    Raises:
        DataError: a column that they do not have.
    """
    known = {str(name): None for row in rows for name in row}
    for role, named in columns.items():
        for name in named if role == IGNORE else [named]:
            if name not in known:
                hint = nearest(name, known)
                if role in known and name in READ:
                    hint = f" The name that is read comes first: {name}={role} reads {role!r} as {name!r}."
                raise DataError(
                    f"columns: {role}={name} names a column that the rows do not have. Their columns: "
                    f"{', '.join(map(repr, known))}.{hint}"
                )


def warn_of_systems(rows: Sequence[Row], columns: Mapping[str, Any]) -> None:
    """Warns where a system prompt makes conversations of some rows, and others without one stay text."""
    kinds: dict[bool, int] = {}
    for number, row in enumerate(rows):
        names = renamed(row, columns, number)
        system = next((names[name] for name in SYSTEMS if name in names), None)
        if system is not None and isinstance(row.get(names.get("prompt", "")), str):
            kinds.setdefault(isinstance(row[system], str) and bool(row[system]), number)
    if len(kinds) > 1:
        warn(
            f"rows with a system prompt, such as row {kinds[True]}, are read as conversations, but those without one, "
            f"such as row {kinds[False]}, as plain text. If 'prompt' is a user's message, use --columns "
            "question=prompt: every row then goes through the chat template."
        )


def _from_columns(given: Mapping[str, Any], columns: Mapping[str, Any]) -> Sequence[Row]:
    names = ", ".join(map(repr, given))
    if not is_of_columns(given, columns):
        raise DataError(f"a dict with the keys {names} is not rows. Of a dict of splits, give one split.")
    values = {name: _listed(value) for name, value in given.items()}
    if wrong := [name for name, value in values.items() if not isinstance(value, list)]:
        raise DataError(
            f"a dict with the keys {names} is a single row, or columns of which {wrong[0]!r} is not a list: give a "
            "list of rows, or a dict of lists."
        )
    return rows_of(values, "the dict of columns")


def _listed(column: Any) -> Any:
    if isinstance(column, str | bytes | Mapping) or not isinstance(column, Iterable):
        return column
    return list(column.tolist() if isinstance(column, np.ndarray) else column)
