"""The rows that are inspected: those of the datasets one after another, and the prompts that are eval prompts."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

from easydel.data.bad_rows import BadRow
from easydel.data.column_names import CONVERSATIONS, QUESTIONS
from easydel.data.python_rows import Row, check_columns
from easydel.data.source import load_rows, stream_rows
from easydel.data.text_literals import parsed
from easydel.errors import DataError
from easydel.inspect.texts import TextPair, text_of_row

_SOURCES = ("source", "dataset", "subset", "data_source", "origin", "category", "task", "domain", "language")
_QUESTIONS = ("prompt", *CONVERSATIONS, *QUESTIONS, "problem", "turns", "text", "goal", "ctx")
_FIRST = 100


@dataclass(frozen=True)
class Inspected:
    """The rows of datasets, one after another, numbered from 0; they are read each time anew, and none is kept."""

    names: Sequence[str]
    rows: Sequence[Iterable[Row]]
    source_column: str | None

    def __iter__(self) -> Iterator[tuple[Row, str]]:
        """Yields each row with where it comes from: what its column says, or its dataset where there are several."""
        for name, rows in zip(self.names, self.rows, strict=True):
            for row in rows:
                source = row.get(self.source_column) if self.source_column and isinstance(row, Mapping) else None
                yield row, str(source)[:80] if source else name if len(self.names) > 1 else ""


def open_pairs(
    names: Sequence[str],
    split: str,
    configs: Sequence[str | None],
    *,
    columns: Mapping[str, Any],
    max_samples: int | None = None,
    source_column: str | None = None,
) -> Inspected:
    """Returns the rows of datasets.

    Raises:
        DataError: there are none, or they lack a column that is named.
    """
    rows = [_First(open_rows(name, split, config), max_samples) for name, config in zip(names, configs, strict=True)]
    first = list(islice(chain.from_iterable(rows), _FIRST))
    if not first:
        raise DataError(f"{names[0]!r} has no rows.")
    known = [row for row in first if isinstance(row, Mapping) and not isinstance(row, BadRow)]
    if known:
        check_columns(known, columns)
    held = {str(name) for row in known for name in row}
    if source_column is not None and source_column not in held:
        raise DataError(
            f"source_column = {source_column!r} names a column that the rows do not have. Their columns: "
            f"{', '.join(map(repr, sorted(held)))}."
        )
    guessed = next((name for name in _SOURCES if name in held and name not in columns.values()), None)
    return Inspected(names, rows, source_column or guessed)


@dataclass(frozen=True)
class _First:
    rows: Iterable[Row]
    count: int | None

    def __iter__(self) -> Iterator[Row]:
        return islice(self.rows, self.count)


def open_rows(name: str, split: str | None, config: str | None = None) -> Iterable[Row]:
    """Returns the rows of a dataset; local ones are read while they are iterated over, unless they are sliced.

    Raises:
        DataError: as `easydel.data.source.load_rows`.
    """
    local = Path(name).expanduser().exists() or any(mark in name for mark in "*?[")
    sliced = split is not None and any(mark in split for mark in "%-")
    return (stream_rows if local and not sliced else load_rows)(name, split, config, on_bad_row="skip")


def eval_prompts_of(rows: Iterable[Row], columns: Mapping[str, Any]) -> Iterator[tuple[int, str]]:
    """Yields what is asked in the rows of an eval set or a benchmark, with their numbers; rows without it are left out.

    A benchmark may hold pairs, or questions alone: a string, the turns of MT-Bench, or messages.

    >>> list(eval_prompts_of([{"turns": ["a?", "b?"]}, {"question": "c?", "answer": "d"}, {"id": 1}], {}))
    [(0, 'a?'), (1, 'c?')]
    """
    for number, row in enumerate(rows):
        pair = text_of_row(row, number, columns)
        asked = pair.asked if isinstance(pair, TextPair) else _question(row)
        if asked:
            yield number, asked


def _question(row: Any) -> str:
    if not isinstance(row, Mapping):
        return ""
    name = next((name for name in _QUESTIONS if row.get(name)), None)
    value = parsed(row[name]) if name is not None else None
    if isinstance(value, str):
        more = row.get("input") if name == "instruction" else None
        return f"{value}\n{more}" if isinstance(more, str) and more else value
    if isinstance(value, Sequence) and value:
        turns = [
            each for each in value if not isinstance(each, Mapping) or each.get("role", "user") in ("user", "human")
        ]
        first = turns[0] if turns else ""
        said = first.get("content") or first.get("value") if isinstance(first, Mapping) else first
        return said if isinstance(said, str) else ""
    return ""


@dataclass(frozen=True)
class Late:
    """The rows of a dataset that is opened when it is read: what is wrong with it is then said of it alone."""

    name: str

    def __iter__(self) -> Iterator[Row]:
        return iter(open_rows(self.name, None))
