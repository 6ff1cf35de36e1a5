"""Several datasets as one: their rows taken in turn by weight, in an order that depends on the seed alone."""

import math
from collections.abc import Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass
from itertools import count, cycle, islice
from typing import Any, Literal, TypeVar

import numpy as np

from easydel.data.python_rows import Row, as_rows
from easydel.errors import ConfigError, DataError, nearest

Stop = Literal["first_exhausted", "all_exhausted"]
STOPS = ("first_exhausted", "all_exhausted")
_DRAWN_AT_ONCE = 4096
_READ_AGAIN = 100_000  # rows at most, to find out where one came from
T = TypeVar("T")


@dataclass(frozen=True)
class Mixture:
    """The rows of datasets that all have a length; their number is known too. Make one with `mix`."""

    datasets: Sequence[Iterable[Row]]
    order: "_Order"
    rows: int

    def __len__(self) -> int:
        return self.rows

    def __iter__(self) -> Iterator[Row]:
        return _taken(self.datasets, self.order)

    def origin(self, number: int) -> tuple[int, int]:
        """Returns the dataset that a row comes from, and the number of the row there."""
        places = [[(at, row) for row in range(length)] for at, length in enumerate(self.order.lengths or ())]
        return next(islice(_taken(places, self.order), number, None))


@dataclass(frozen=True)
class MixedStream:
    """The rows of datasets of which at least one is a stream, and so a stream too. Make one with `mix`."""

    datasets: Sequence[Iterable[Row]]
    order: "_Order"

    def __iter__(self) -> Iterator[Row]:
        return _taken(self.datasets, self.order)

    def origin(self, number: int) -> tuple[int, int] | None:
        """Returns what `Mixture.origin` does, by reading the rows before it again; None where that takes too long.

        None as well where it cannot be done, as one of the datasets is an iterator.
        """
        if number > _READ_AGAIN or any(iter(rows) is rows for rows in self.datasets):
            return None
        places = [_Places(at, rows) for at, rows in enumerate(self.datasets)]
        return next(islice(_taken(places, self.order), number, None), None)


@dataclass(frozen=True)
class _Places:
    """The number of a dataset with that of each of its rows."""

    dataset: int
    rows: Iterable[Row]

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return ((self.dataset, number) for number, _ in enumerate(self.rows))


def mix(
    datasets: Sequence[Iterable[Row]],
    weights: Sequence[float] | None = None,
    *,
    seed: int = 0,
    stop: Stop = "first_exhausted",
) -> Mixture | MixedStream:
    """Returns the rows of several datasets as one, each dataset's in their own order.

    With weights the next row comes from dataset i with probability `weights[i] / sum(weights)`. Without, every row of
    every dataset comes once: shuffled into each other where all have a length, in turn otherwise. The same datasets
    and seed give the same rows each time.

    >>> mixture = mix([[{"prompt": "a"}] * 5, [{"prompt": "b"}] * 50], [0.3, 0.7])
    >>> "".join(row["prompt"] for row in mixture)
    'aabababa'

    Args:
        stop: with weights, `first_exhausted` ends with the last row of whichever dataset ends first, `all_exhausted`
            when every dataset was read to its end; one that ended earlier starts again, or takes no further part
            where it is an iterator that cannot.

    Raises:
        ConfigError: no datasets, or weights that are not one positive number for each.
        DataError: one without rows.
    """
    if not datasets:
        raise ConfigError("there are no datasets to mix.")
    if stop not in STOPS:
        raise ConfigError(f"stop = {stop!r} is not one of {', '.join(map(repr, STOPS))}.{nearest(str(stop), STOPS)}")
    if weights is not None:
        _check_weights(weights, len(datasets))
    lengths = []
    datasets = [as_rows(rows) for rows in datasets]
    for at, rows in enumerate(datasets):
        if isinstance(rows, Sized):
            lengths.append(len(rows))
            if not len(rows):
                raise DataError(f"dataset {at} of the mixture has no rows.")
    share = None if weights is None else tuple(weight / math.fsum(weights) for weight in weights)
    if len(lengths) < len(datasets):
        return MixedStream(tuple(datasets), _Order(len(datasets), share, seed, stop, None))
    order = _Order(len(datasets), share, seed, stop, tuple(lengths))
    rows = sum(1 for _ in _taken([range(length) for length in lengths], order))
    return Mixture(tuple(datasets), order, rows)


@dataclass(frozen=True)
class FirstRows:
    """The first rows of a stream that can be read again. Make one with `first_of_each`."""

    rows: Iterable[Row]
    count: int

    def __iter__(self) -> Iterator[Row]:
        return islice(self.rows, self.count)


def first_of_each(rows: Iterable[Row], count: int | None) -> Iterable[Row]:
    """Returns the first `count` rows, of a mixture those of each dataset, mixed anew; None takes all.

    >>> first_of_each([{"prompt": "a"}, {"prompt": "b"}], 1)
    [{'prompt': 'a'}]
    >>> len(first_of_each(mix([[{"prompt": "a"}] * 5, [{"prompt": "b"}] * 50]), 10))
    15
    """
    if count is None:
        return rows
    if isinstance(rows, Mixture | MixedStream):
        datasets = [first_of_each(each, count) for each in rows.datasets]
        if all(first is each for first, each in zip(datasets, rows.datasets, strict=True)):
            return rows
        order = rows.order
        return mix(datasets, order.weights, seed=order.seed, stop=order.stop)
    if isinstance(rows, Sized):
        if len(rows) <= count:
            return rows
        select = getattr(rows, "select", None)  # of a `Dataset`, which stays one
        return list(islice(rows, count)) if select is None else select(range(count))
    if isinstance(rows, FirstRows):
        return rows if rows.count <= count else FirstRows(rows.rows, count)
    # An iterator is read once, and must be known as one.
    return islice(rows, count) if iter(rows) is rows else FirstRows(rows, count)


@dataclass(frozen=True)
class _Order:
    """Whose turn it is."""

    datasets: int
    weights: tuple[float, ...] | None  # that add up to 1
    seed: int
    stop: Stop
    lengths: tuple[int, ...] | None  # None where a dataset has none

    @property
    def ends_with_the_first(self) -> bool:
        return self.weights is not None and self.stop == "first_exhausted"

    def turns(self) -> Iterator[int]:
        """Yields the number of the dataset that the next row comes from."""
        if self.weights is None and self.lengths is None:
            yield from cycle(range(self.datasets))
        elif self.weights is None:
            yield from self._generator(0).permutation(np.repeat(np.arange(self.datasets), self.lengths or ())).tolist()
        for block in count():
            yield from self._generator(block).choice(self.datasets, _DRAWN_AT_ONCE, p=self.weights).tolist()

    def _generator(self, block: int) -> np.random.Generator:
        return np.random.Generator(np.random.Philox(np.random.SeedSequence([self.seed, block])))


class _Feed:
    """The rows of one dataset, of which it is known before the last is taken that it is the last."""

    def __init__(self, rows: Iterable[T]) -> None:
        self._rows = rows
        self.begin()

    def begin(self) -> None:
        """Starts at the first row; an iterator goes on where it is."""
        self._iterator = iter(self._rows)
        self._following = list(islice(self._iterator, 1))

    @property
    def is_at_its_end(self) -> bool:
        return not self._following

    def take(self) -> Any:
        [row] = self._following
        self._following = list(islice(self._iterator, 1))
        return row


def _taken(datasets: Sequence[Iterable[T]], order: _Order) -> Iterator[T]:
    feeds = [_Feed(rows) for rows in datasets]
    ended = {at for at, feed in enumerate(feeds) if feed.is_at_its_end}  # iterators that were read before
    for at in order.turns():
        if len(ended) == len(feeds) or (ended and order.ends_with_the_first):
            return
        if feeds[at].is_at_its_end:
            continue
        yield feeds[at].take()
        if feeds[at].is_at_its_end:
            ended.add(at)
            if order.weights is not None and not order.ends_with_the_first:
                feeds[at].begin()


def _check_weights(weights: Sequence[float], datasets: int) -> None:
    if len(weights) != datasets:
        raise ConfigError(f"{len(weights)} weights for {datasets} datasets: give one for each.")
    for at, weight in enumerate(weights):
        if not math.isfinite(weight) or weight <= 0:
            raise ConfigError(
                f"weight {at} of the mixture is {weight}; it must be a finite number above 0. To leave out a dataset, "
                "do not pass it."
            )
