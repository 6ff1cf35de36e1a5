"""Rows that cannot be read: the first one stops a run, or all are left out and counted (`on_bad_row`)."""

from collections.abc import Iterable, Iterator
from typing import Literal, TypeVar

from easydel.errors import DataError

T = TypeVar("T")
OnBadRow = Literal["stop", "skip"]
CAUSE = "could not be read"
_MARK = f"{CAUSE}: "


class BadRow(dict):
    """Stands in place of a row that is not there as one, and keeps its number; it has no columns.

    Attributes:
        reason: what is wrong, as the message of an error.
    """

    def __init__(self, reason: str) -> None:
        super().__init__()
        self.reason = reason


def raised(rows: Iterable[T]) -> Iterator[T]:
    """Yields rows, and raises DataError for the first that is a `BadRow`."""
    for row in rows:
        if isinstance(row, BadRow):
            raise DataError(row.reason)
        yield row


def unreadable(error: DataError) -> str:
    """Returns why a row that raised an error is dropped, see `easydel.data.tokenize.Joined`.

    >>> unreadable(DataError("row 3: no column")), reason_of(unreadable(DataError("row 3: no column")))
    ('could not be read: row 3: no column', 'row 3: no column')
    """
    return f"{_MARK}{error}"


def reason_of(dropped: str) -> str | None:
    """Returns what is wrong with a row that was dropped as it cannot be read; None for any other."""
    return dropped.removeprefix(_MARK) if dropped.startswith(_MARK) else None
