"""The numbers of a row: its weight in the loss, and the margin by which its chosen completion should win."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import numpy as np

from easydel.data.column_names import NUMBERS, renamed
from easydel.data.format import NO_COLUMNS
from easydel.data.message_content import kind
from easydel.data.python_rows import Row
from easydel.errors import DataError

_NUMBERS = (int, float, Decimal, np.integer, np.floating)
_MAX = float(np.finfo(np.float32).max)  # what a batch can hold


def numbers_of(row: Row, number: int, columns: Mapping[str, Any] = NO_COLUMNS) -> tuple[float, float]:
    """Returns the factor on the loss of a row, its `weight` (default: 1), and its `margin` (default: 0).

    The defaults are for columns that are absent, None, or an empty string, as CSV files have. A margin is by how much
    the chosen completion should win.

    Args:
        columns: which column is read as which, see `easydel.data.column_names.read_columns`.

    Raises:
        DataError: one of them is not a finite number, or the weight is negative.
    """
    if columns:
        names = renamed(row, columns, number)
        row = {name: row[names[name]] for name in NUMBERS if name in names}
    weight = _number(row, "weight", number, default=1.0, least=0.0, limit="a finite number of at least 0")
    return weight, _number(row, "margin", number, default=0.0, least=-_MAX, limit="a finite number")


def without_text(row: Row, columns: Mapping[str, Any] = NO_COLUMNS) -> Row:
    """Returns what `numbers_of` reads of a row.

    Raises:
        DataError: two columns of the same name, see `easydel.data.column_names.renamed`.
    """
    names = renamed(row, columns, 0)
    return {names[name]: row[names[name]] for name in NUMBERS if name in names}


def _number(row: Row, name: str, number: int, *, default: float, least: float, limit: str) -> float:
    given = row.get(name)
    if given is None or (isinstance(given, str) and not given.strip()):  # text, as all that CSV files hold
        return default
    value = _parsed(given) if isinstance(given, str) else given
    if isinstance(value, bool) or not isinstance(value, _NUMBERS) or not least <= value <= _MAX:
        shown = repr(given) if isinstance(given, str) else kind(given)
        raise DataError(f"row {number}: {name!r} is {shown:.60}; it must be {limit}, or None for {default}.")
    return float(value)


def _parsed(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
