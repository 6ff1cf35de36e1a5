"""The rows of a dataset, some hundred at a time, read no further than they are asked for."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import islice
from typing import Any, NamedTuple

from easydel.data.bad_rows import BadRow
from easydel.data.python_rows import Row, check_columns, warn_of_systems
from easydel.errors import DataError

ROWS_AT_ONCE = 512  # fast tokenizers use every core on a list of texts


class Chunk(NamedTuple):
    """Some rows that follow one another."""

    first: int  # number of its first row
    rows: list[Row]
    broke: Exception | None = None  # what was raised where another row should be


class RowChunks:
    """The rows of a dataset by the chunk. What is not a row is a `BadRow`.

    Attributes:
        is_at_its_end: there are no more rows, or none can be had.
    """

    def __init__(
        self, rows: Iterable[Row], columns: Mapping[str, Any], see: Callable[[Row], None] = lambda row: None
    ) -> None:
        self._rows, self._columns, self._see = iter(rows), columns, see
        self._number = 0  # of the next row
        self.is_at_its_end = False

    def next(self, count: int) -> Iterator[Chunk]:
        """Yields the next `count` rows, or as many as there are; what the rows raise comes after those before it.

        Raises:
            DataError: the first rows lack a column that is named to be read.
        """
        while count and not self.is_at_its_end:
            size = min(count, ROWS_AT_ONCE)
            chunk = self._chunk(size)
            self.is_at_its_end = len(chunk.rows) < size
            if chunk.rows and not chunk.first:
                check_columns(chunk.rows, self._columns)
                with suppress(DataError):  # of a single row, which is found when it is read
                    warn_of_systems(chunk.rows, self._columns)
            count -= len(chunk.rows)
            self._number += len(chunk.rows)
            if chunk.rows or chunk.broke is not None:
                yield chunk

    def _chunk(self, size: int) -> Chunk:
        chunk = Chunk(self._number, [])
        try:
            for number, row in enumerate(islice(self._rows, size), chunk.first):
                if not isinstance(row, Mapping):
                    chunk.rows.append(
                        BadRow(f"row {number} is of type {type(row).__name__}; a row must be a dict of columns.")
                    )
                    continue
                if not isinstance(row, BadRow):
                    self._see(row)
                chunk.rows.append(row)
        except Exception as error:  # noqa: BLE001  # whatever it is, it is raised after the rows before it
            if not isinstance(error, DataError):  # which says what is wrong where
                error.add_note(f"This was raised in place of row {chunk.first + len(chunk.rows)} (rows count from 0).")
            return chunk._replace(broke=error)
        return chunk
