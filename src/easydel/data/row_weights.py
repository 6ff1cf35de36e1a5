"""The numbers of a row: its weight in the loss, and how far or how surely its chosen completion is the better one."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import numpy as np

from easydel.data.column_names import SCORES, numbers_among, renamed
from easydel.data.format import NO_COLUMNS
from easydel.data.message_content import kind
from easydel.data.pair import NEUTRAL, RowNumbers
from easydel.data.python_rows import Row
from easydel.errors import DataError

_NUMBERS = (int, float, Decimal, np.integer, np.floating)
_MAX = float(np.finfo(np.float32).max)  # what a batch can hold


def numbers_of(row: Row, number: int, columns: Mapping[str, Any] = NO_COLUMNS, *, scored: bool = False) -> RowNumbers:
    """Returns the numbers of a row: `weight`, `margin`, `preference` and, if `scored`, how much its two scores differ.

    A column that is absent, None, or an empty string, as CSV files have, gives the default of `RowNumbers`; scores have
    none.

    Args:
        columns: which column is read as which, see `easydel.data.column_names.read_columns`.

    Raises:
        DataError: one of them is not a finite number, the weight is negative, the preference not between 0 and 1, or
            a score is not there.
    """
    row = _named(row, columns, number)
    gap = 0.0
    if scored:
        chosen, rejected = (_score(row, name, number) for name in SCORES)
        gap = chosen - rejected
    return RowNumbers(
        _number(row, "weight", number, least=0.0, limit="a finite number of at least 0"),
        _number(row, "margin", number, least=-_MAX, limit="a finite number"),
        _number(row, "preference", number, least=0.0, most=1.0, limit="a number between 0 and 1"),
        gap,
    )


def without_text(row: Row, columns: Mapping[str, Any] = NO_COLUMNS) -> Row:
    """Returns what `numbers_of` reads of a row.

    Raises:
        DataError: two columns of the same name, see `easydel.data.column_names.renamed`.
    """
    names = renamed(row, columns, 0)
    return {names[name]: row[names[name]] for name in numbers_among(names)}


def _named(row: Row, columns: Mapping[str, Any], number: int) -> dict[str, Any]:
    names = renamed(row, columns, number)
    return {name: row[names[name]] for name in numbers_among(names)}


def _number(row: Row, name: str, number: int, *, least: float, most: float = _MAX, limit: str) -> float:
    given, default = row.get(name), getattr(NEUTRAL, name)
    if given is None or (isinstance(given, str) and not given.strip()):  # text, as all that CSV files hold
        return default
    return _in_range(given, name, number, least, most, f"{limit}, or None for {default}")


def _score(row: Row, name: str, number: int) -> float:
    given = row.get(name)
    if given is None or (isinstance(given, str) and not given.strip()):
        raise DataError(
            f"row {number} has no {name!r}, which the loss of this run needs: {' and '.join(map(repr, SCORES))} are "
            f"numbers, more is better. A column of another name is read with --columns {name}=NAME."
        )
    return _in_range(given, name, number, -_MAX, _MAX, "a finite number")


def _in_range(given: Any, name: str, number: int, least: float, most: float, limit: str) -> float:
    value = _parsed(given) if isinstance(given, str) else given
    if isinstance(value, bool) or not isinstance(value, _NUMBERS) or not least <= value <= most:
        shown = repr(given) if isinstance(given, str) else kind(given)
        raise DataError(f"row {number}: {name!r} is {shown:.60}; it must be {limit}.")
    return float(value)


def _parsed(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
