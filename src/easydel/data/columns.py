"""The columns of a row: the texts or token ids that make its pair, and the numbers that say how much it counts."""

from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np

from easydel.data.messages import kind
from easydel.data.render import renderer, to_preference
from easydel.data.tokenize import Joined, tokenize
from easydel.data.tokenizer import Tokenizer
from easydel.errors import DataError

Row = Mapping[str, Any]
ID_COLUMNS = (
    ("prompt_ids", "chosen_ids", "rejected_ids"),
    ("prompt_input_ids", "chosen_input_ids", "rejected_input_ids"),
)
_NUMBERS = (int, float, np.integer, np.floating)
_MOST = float(np.finfo(np.float32).max)  # what a batch can hold


def check_rows(rows: Any) -> None:
    """Raises DataError for what is easily given in place of rows: a name, or a dict of splits."""
    if isinstance(rows, str | Path):
        raise DataError(
            f"{str(rows)!r} is the name of a dataset, not its rows: read them with easydel.data.source.load_rows."
        )
    if not isinstance(rows, Iterable):
        way_out = "call it, and give what it returns" if callable(rows) else "give a list of dicts, or a dataset"
        raise DataError(f"rows of type {type(rows).__name__} cannot be read one after another: {way_out}.")
    if isinstance(rows, Mapping):
        names = ", ".join(map(repr, rows))
        raise DataError(f"a dict with the keys {names} is not a list of rows. Of a dict of splits, give one split.")


def read_tokens(rows: Sequence[Row], first: int, tokenizer: Tokenizer | None) -> list[Joined]:
    """Returns the token ids of rows that are numbered from `first`; the texts among them are tokenised together.

    Raises:
        DataError: a row of no accepted form, or of text without a tokenizer.
    """
    given = [_given_ids(row, number) for number, row in enumerate(rows, first)]
    preferences = []
    for number, (row, joined) in enumerate(zip(rows, given, strict=True), first):
        if joined is None:
            render = renderer(tokenizer, number) if tokenizer is not None else None
            preferences.append(to_preference(row, number, render))
    if preferences and tokenizer is None:
        raise DataError(
            "the rows are text and no tokenizer was given. Pass one (processing_class), or rows of token ids "
            "as 'prompt_ids', 'chosen_ids' and 'rejected_ids'."
        )
    tokenized = iter(tokenize(preferences, tokenizer) if tokenizer is not None else [])
    return [next(tokenized) if joined is None else joined for joined in given]


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


def without_text(row: Row) -> Row:
    """Returns what `read_weight` and `read_margin` read of a row."""
    return {name: row[name] for name in ("weight", "margin") if name in row}


def id_columns(row: Row) -> tuple[str, ...] | None:
    """Returns the names of the columns that hold token ids, None for a row of text."""
    return next((names for names in ID_COLUMNS if any(row.get(name) is not None for name in names)), None)


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


def _given_ids(row: Row, number: int) -> Joined | None:
    names = id_columns(row)
    if names is None:
        return None
    if missing := [name for name in names if row.get(name) is None]:
        raise DataError(f"row {number} has token ids but no {missing[0]!r}. All of {', '.join(names)} are needed.")
    sides = []
    for name in names:
        ids = row[name].tolist() if isinstance(row[name], np.ndarray) else row[name]
        if not isinstance(ids, list | tuple) or not _are_whole(ids):
            raise DataError(f"row {number}: {name!r} must be a list of whole numbers, the ids of its tokens.")
        if not ids:
            raise DataError(f"row {number}: {name!r} is empty; it needs at least one token.")
        sides.append(list(map(int, ids)))
    return Joined(*sides)


def _are_whole(values: Sequence[Any]) -> bool:
    """Whether all are whole numbers, of Python or numpy; a truth value is none."""
    return all(issubclass(kind, Integral) and kind is not bool for kind in set(map(type, values)))
