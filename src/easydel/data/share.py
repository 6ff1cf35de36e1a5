"""The work of tokenizing, shared by the processes of a run: each does a part of the rows, and all get all of them."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple, TypeVar

import numpy as np

from easydel.data.token_cache import from_arrays, to_arrays
from easydel.data.tokenize import Joined
from easydel.errors import ConfigError, DataError

Arrays = Mapping[str, np.ndarray]
T = TypeVar("T")

_ERRORS = {error.__name__: error for error in (ConfigError, DataError)}


class Share(NamedTuple):
    """The part of the work that is this process's.

    Attributes:
        number: which of the processes this is, from 0.
        processes: how many there are.
        exchange: gives the arrays of every process, in order, once all have come with theirs.
    """

    number: int = 0
    processes: int = 1
    exchange: Callable[[Arrays], Sequence[Arrays]] = lambda arrays: [arrays]

    def of(self, items: Iterable[T]) -> Iterator[T]:
        """Yields every `processes`-th item, this process's; all are taken from `items`."""
        return (item for at, item in enumerate(items) if at % self.processes == self.number)

    def joined(self, work: Callable[[], Sequence[Sequence[Joined]]]) -> Iterator[Sequence[Joined]]:
        """Returns what the processes made of all items, in the order of the items; each does its own `work`.

        Raises:
            DataError: what was wrong with the rows of one of them, in each: no process waits for one that has given up.
            ConfigError: as well.
        """
        try:
            made = work()
            rows = [row for item in made for row in item]
            mine = to_arrays(rows) | {"items": np.array([len(item) for item in made], np.int32)}
        except (ConfigError, DataError) as error:
            mine = {"error": np.array([type(error).__name__, str(error)])}
        theirs = self.exchange(mine)
        for each in theirs:
            if "error" in each:
                name, text = each["error"].tolist()
                raise _ERRORS[name](text)
        parts = [_items(each) for each in theirs]
        return (next(parts[at % self.processes]) for at in range(sum(len(each["items"]) for each in theirs)))


ALONE = Share()


def _items(arrays: Arrays) -> Iterator[list[Joined]]:
    found = from_arrays(arrays)
    yield from (list(islice(found, size)) for size in arrays["items"].tolist())
