"""The rows of a stream, pass after pass, and an order of them that needs no more than a buffer of memory."""

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain, count, islice
from typing import TypeVar

import numpy as np

from easydel.data.python_rows import Row
from easydel.errors import DataError

T = TypeVar("T")


class Passes:
    """The rows of a stream, pass after pass. The first looked at are kept, and the first pass begins with them."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._rows = rows
        self._iterator = iter(rows)
        self._is_read_once = self._iterator is rows
        self._looked_at: deque[Row] = deque()
        self._has_begun = False

    def look(self) -> Iterator[Row]:
        """Yields the first rows, as many as are asked for."""
        for row in self._iterator:
            self._looked_at.append(row)
            yield row

    def begin(self, epoch: int) -> Iterator[Row] | None:
        """Returns the rows of a pass; None where there is no such pass, as the stream cannot be read again.

        Raises:
            DataError: the first pass of an iterator, for the second time.
        """
        if epoch == 0 and not self._has_begun:
            self._has_begun = True
            return chain(_drained(self._looked_at), self._iterator)
        if self._is_read_once and epoch == 0:
            raise DataError(
                f"the stream ({type(self._rows).__name__}) was read already and cannot be read again: give a fresh "
                "one, or rows that can be, such as a list or a datasets.IterableDataset."
            )
        rows = iter(() if self._is_read_once else self._rows)
        first = list(islice(rows, 1))  # none, where an iterable hands out one iterator again and again
        return chain(first, rows) if first else None


def shuffled(items: Iterable[T], size: int, seed: int | None, epoch: int) -> Iterator[T]:
    """Yields the items in blocks of `size`, each in an order of its own; in their own order without a seed."""
    items = iter(items)
    if seed is None:
        yield from items
        return
    for block in count():
        members = list(islice(items, size))
        if not members:
            return
        key = np.random.SeedSequence([seed, epoch, block])
        yield from (members[at] for at in np.random.Generator(np.random.Philox(key)).permutation(len(members)))


def _drained(rows: deque[Row]) -> Iterator[Row]:
    while rows:
        yield rows.popleft()
