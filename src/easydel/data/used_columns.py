"""Which columns the rows of a dataset were read from, and which were left alone."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from easydel.data.column_names import IGNORE
from easydel.data.format import NO_COLUMNS, columns_of
from easydel.data.plain_values import is_empty
from easydel.errors import DataError

_MOST_KINDS = 1000


class Columns(NamedTuple):
    """The columns of a dataset, in the order in which they were met, each with the number of rows."""

    rows: int  # that were looked at
    read: dict[str, int]  # in which it was read
    ignored: dict[str, int]  # in which it holds something that was not read; 0 where it holds nothing
    stands_for: dict[str, str]  # the name under which a column was read, where it has another


class Kind(NamedTuple):
    """What rows with values of the same types have in common: the names of columns that were read, and the others."""

    read: tuple[str, ...]
    ignored: tuple[str, ...]
    empty: tuple[str, ...]
    roles: tuple[tuple[str, str], ...]


@dataclass
class UsedColumns:
    """Counts columns as rows are read."""

    _kinds: dict[tuple[Any, ...], Kind | None] = field(default_factory=dict)
    # Of earlier rows, and how many of each kind came since; replaced at once, as a stream is read in another thread.
    _counted: tuple[Columns, Counter[Kind]] = field(default_factory=lambda: (Columns(0, {}, {}, {}), Counter()))

    def add(self, row: Mapping[str, Any], columns: Mapping[str, Any] = NO_COLUMNS, *, scored: bool = False) -> None:
        """Counts the columns of one more row, see `kind` and `count`."""
        self.count(self.kind(row, columns, scored=scored))

    def kind(
        self, row: Mapping[str, Any], columns: Mapping[str, Any] = NO_COLUMNS, *, scored: bool = False
    ) -> Kind | None:
        """Returns what the columns of a row are read as; None where it cannot be read, which ends the run later.

        Args:
            columns: which column stands for which that is read, the same for all rows.
            scored: the scores of both completions are read.
        """
        # What a row is read from goes by which columns hold something, and of what type: each kind is looked at once.
        key = tuple((name, type(value), _holds(value)) for name, value in row.items())
        if key not in self._kinds:
            if len(self._kinds) >= _MOST_KINDS:
                self._kinds.clear()
                self._counted = self.found(), Counter()
            self._kinds[key] = _kind(row, columns, scored)
        return self._kinds[key]

    def count(self, kind: Kind | None) -> None:
        """Counts one more row of a kind."""
        if kind is not None:
            self._counted[1][kind] += 1

    def found(self) -> Columns:
        """Returns what was counted so far."""
        earlier, since = self._counted
        seen = list(since.items())  # a copy, see above
        read, ignored = Counter(earlier.read), Counter(earlier.ignored)
        for kind, count in seen:
            read.update(dict.fromkeys(kind.read, count))
            ignored.update(dict.fromkeys(kind.ignored, count) | dict.fromkeys(kind.empty, 0))
        held = {name: count for name, count in ignored.items() if count}
        empty = {name: 0 for name, count in ignored.items() if not count and name not in read}
        roles = dict(pair for kind, _ in seen for pair in kind.roles)
        rows = earlier.rows + sum(count for _, count in seen)
        return Columns(rows, dict(read), {**held, **empty}, earlier.stands_for | roles)


def _kind(row: Mapping[str, Any], columns: Mapping[str, Any], scored: bool) -> Kind | None:
    try:
        read, rest = columns_of(row, columns, scored=scored)
    except DataError:
        return None
    roles = tuple((column, role) for role, column in columns.items() if role != IGNORE and column in read)
    ignored = tuple(str(name) for name in rest if _holds(row[name]))
    empty = tuple(str(name) for name in rest if not _holds(row[name]))
    return Kind(tuple(map(str, read)), ignored, empty, roles)


def _holds(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return bool(value.size)
    if isinstance(value, float):
        return value == value  # what a data frame has for nothing is not
    return not is_empty(value)
