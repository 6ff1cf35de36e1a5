"""The columns of rows as what makes a pair: its token ids, and the numbers that say how much it counts."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import numpy as np

from easydel.data.column_names import NUMBERS, renamed
from easydel.data.contents import kind
from easydel.data.format import NO_COLUMNS, Dropped
from easydel.data.given import Row
from easydel.data.given_ids import read_ids
from easydel.data.render import Preference, renderer, to_preference
from easydel.data.tokenize import Joined, tokenize
from easydel.data.tokenizer import Tokenizer
from easydel.errors import DataError

_NUMBERS = (int, float, Decimal, np.integer, np.floating)
_MOST = float(np.finfo(np.float32).max)  # what a batch can hold


def read_tokens(
    rows: Sequence[Row], first: int, tokenizer: Tokenizer | None, columns: Mapping[str, Any] = NO_COLUMNS
) -> list[Joined]:
    """Returns the token ids of rows that are numbered from `first`; the texts among them are tokenised together.

    Raises:
        DataError: a row of no accepted form, or of text without a tokenizer.
    """
    found: list[Joined | Preference] = []
    for number, row in enumerate(rows, first):
        joined = read_ids(row, number, columns)
        if joined is None:
            render = renderer(tokenizer, number) if tokenizer is not None else None
            said = to_preference(row, number, render, columns)
            joined = Joined([], [], [], dropped=said.cause) if isinstance(said, Dropped) else said
        found.append(joined)
    preferences = [each for each in found if isinstance(each, Preference)]
    if preferences and tokenizer is None:
        raise DataError(
            "the rows are text and no tokenizer was given. Pass one (processing_class), or rows of token ids "
            "as 'prompt_ids', 'chosen_ids' and 'rejected_ids'."
        )
    tokenized = iter(tokenize(preferences, tokenizer) if tokenizer is not None else [])
    return [next(tokenized) if isinstance(each, Preference) else each for each in found]


def read_weight(row: Row, number: int) -> float:
    """Returns what multiplies the loss of a row, its column `weight`: 1 where that is absent or None.

    Raises:
        DataError: it is no finite number, or negative.
    """
    return _number(row, "weight", number, default=1.0, least=0.0, limit="a finite number of at least 0")


def read_margin(row: Row, number: int) -> float:
    """Returns by how much the chosen answer of a row should win, its column `margin`: 0 where absent or None.

    Raises:
        DataError: it is no finite number.
    """
    return _number(row, "margin", number, default=0.0, least=-_MOST, limit="a finite number")


def numbers_of(row: Row, number: int, columns: Mapping[str, Any] = NO_COLUMNS) -> tuple[float, float]:
    """Returns the weight and the margin of a row, under whatever names `columns` gives them.

    Raises:
        DataError: one that is no such number.
    """
    if columns:
        names = renamed(row, columns, number)
        row = {name: row[names[name]] for name in NUMBERS if name in names}
    return read_weight(row, number), read_margin(row, number)


def without_text(row: Row, columns: Mapping[str, Any] = NO_COLUMNS) -> Row:
    """Returns what `numbers_of` reads of a row."""
    names = renamed(row, columns, 0) if columns else {name: name for name in row}
    return {names[name]: row[names[name]] for name in NUMBERS if name in names}


def _number(row: Row, name: str, number: int, *, default: float, least: float, limit: str) -> float:
    given = row.get(name)
    if given is None or (isinstance(given, str) and not given.strip()):  # text, as all that CSV files hold
        return default
    value = _parsed(given) if isinstance(given, str) else given
    if isinstance(value, bool) or not isinstance(value, _NUMBERS) or not least <= value <= _MOST:
        shown = repr(given) if isinstance(given, str) else kind(given)
        raise DataError(f"row {number}: {name!r} is {shown:.60}; it must be {limit}, or None for {default}.")
    return float(value)


def _parsed(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
