"""The columns of one row under the names that are read, and which of them were."""

from collections.abc import Mapping
from typing import Any

from easydel.data.column_names import renamed
from easydel.data.values import is_void, plain


class RowColumns:
    """The columns of one row under the names that are read; remembers which were."""

    def __init__(self, row: Mapping[str, Any], columns: Mapping[str, Any], number: int) -> None:
        self.number = number
        self.names = renamed(row, columns, number)
        self.row = row
        self.used: dict[str, None] = {}
        self._plain: dict[str, Any] = {}

    def has(self, name: str) -> bool:
        return name in self.names and not is_void(self.look(name))

    def look(self, name: str) -> Any:
        """The value of a column, plain; None where there is none."""
        if name not in self.names:
            return None
        if name not in self._plain:
            self._plain[name] = plain(self.row[self.names[name]], f"row {self.number}: {self.names[name]!r}")
        return self._plain[name]

    def take(self, *names: str) -> tuple[str, Any]:
        """The first of the columns that holds something, and its value; it counts as used."""
        for name in names:
            if not is_void(value := self.look(name)):
                self.used[name] = None
                return name, value
        return "", None
