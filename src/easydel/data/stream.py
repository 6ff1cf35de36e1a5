"""Batches of a stream: rows without a length, read, tokenised and packed as training goes, in bounded memory.

The order is that of the rows, shuffled in blocks of a buffer by a permutation keyed by (seed, epoch, block). A batch
depends on its position and on the rows before it: a run that continues reads these again, and from there on sees
exactly the batches that a straight run would have seen.
"""

import warnings
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence, Sized
from contextlib import closing
from dataclasses import dataclass
from itertools import chain, count, islice
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Int

from easydel.data.counts import Counts, Tally, warn_of
from easydel.data.given import Row, as_rows
from easydel.data.loader import START, Position, check_sizes, make_batch, plan_for, steps_of
from easydel.data.pack import Batch, sizes
from easydel.data.pair import Pair
from easydel.data.prepare import Recipe
from easydel.data.shapes import LENGTH_COST, MAX_SHAPES, Shape
from easydel.errors import ConfigError, DataError

BUFFER_SIZE = 1024
T = TypeVar("T")
_PLANNED_BATCHES = 8  # of the first pairs, or a buffer full if that is more
_ROWS_PER_PAIR = 64  # that are looked at before the first pairs are taken to be fewer than wanted
_PLANNED_ORDERS = 3  # of these pairs, as different epochs shuffle them


def is_stream(rows: Any) -> bool:
    """Returns whether rows are a stream: something to iterate over that does not know its length.

    >>> is_stream(row for row in []), is_stream([])
    (True, False)
    """
    return not isinstance(rows, Sized | str)


@dataclass
class StreamLoader:
    """The batches of a stream, with the members of `Loader`. Make one with `make_stream_loader`."""

    pairs: Sequence[Pair]  # the first ones only, of which the shapes are planned
    total_batch_size: int
    gradient_accumulation_steps: int
    seed: int | None  # None keeps the order of the rows
    shards: int
    parts: int
    plan: tuple[Shape, ...]
    buffer_size: int
    max_training_steps: int
    recipe: Recipe
    _passes: "_Passes"
    _tally: Tally
    _complete: Tally | None = None

    @property
    def steps_per_epoch(self) -> None:
        """None: nobody knows before the end of the stream."""
        return None

    @property
    def tally(self) -> Tally:
        """What was seen of the rows: in the first pass through the stream that is complete, else those read so far."""
        return self._complete or self._tally

    @property
    def counts(self) -> Counts:
        """What became of these rows."""
        return self.tally.counts()

    def batches(
        self, start: Position = START, *, epochs: int | None = None
    ) -> Generator[tuple[Position, Batch], None, None]:
        """Yields each batch with the position after it; an epoch is a pass through the stream.

        The position is what a checkpoint stores: `batches(position)` continues with the next batch. It goes on to the
        end of `epochs` epochs, None being without end. A stream that cannot be read again ends after the first, with
        a warning if that is before `max_training_steps`.

        Raises:
            DataError: a row that cannot be read, when it is met; or a stream that was read already, or ends before
                `start`.
        """
        done, before = start.batch, 0
        for epoch in count(start.epoch) if epochs is None else range(start.epoch, epochs):
            rows = self._passes.begin(epoch)
            if rows is None:
                warnings.warn(self._at_its_end(epoch), stacklevel=2)
                return
            self._tally = Tally()
            with closing(self.recipe.pairs(rows, self._tally)) as pairs:
                ordered = _shuffled(pairs, self.buffer_size, self.seed, epoch)
                for is_last, batch in self._rest_of_pass(ordered, Position(epoch, done)):
                    done += 1
                    yield Position(epoch + 1, 0) if is_last else Position(epoch, done), batch
            if self._complete is None:
                self._complete = self._tally
                before = epoch * done  # all that can be known of passes that another process read
                warn_of(self._tally, stacklevel=2)
            before += done
            if before >= self.max_training_steps:
                return
            done = 0

    def _rest_of_pass(self, pairs: Iterator[Pair], start: Position) -> Iterator[tuple[bool, Batch]]:
        """Yields the batches of a pass from a position on, each with whether it is the last."""
        size = self.total_batch_size
        passed = sum(1 for _ in islice(pairs, start.batch * size))
        members = list(islice(pairs, size))
        if start.batch and not members:
            raise DataError(
                f"the stream ended after {passed} pairs, but the run to continue had used {start.batch} batches of "
                f"{size} in pass {start.epoch + 1}: give it the stream it had."
            )
        while members:
            following = list(islice(pairs, size))
            yield not following, self._batch(members)
            members = following

    def _batch(self, members: list[Pair]) -> Batch:
        return make_batch(
            members,
            sizes(members),
            self.plan,
            total_batch_size=self.total_batch_size,
            gradient_accumulation_steps=self.gradient_accumulation_steps,
            shards=self.shards,
            parts=self.parts,
        )

    def _at_its_end(self, epoch: int) -> str:
        return (
            f"the stream is at its end after pass {epoch}, before max_training_steps = {self.max_training_steps}: "
            f"{self.counts.summary()} It cannot be read again, so training ends here. Give rows that can, such as a "
            "list or a datasets.IterableDataset, or lower max_training_steps."
        )


def make_stream_loader(
    rows: Iterable[Row],
    recipe: Recipe,
    *,
    total_batch_size: int,
    max_training_steps: int | None,
    gradient_accumulation_steps: int = 1,
    num_train_epochs: float = 1,
    shuffle: bool = True,
    buffer_size: int | None = None,
    seed: int = 0,
    shards: int = 1,
    parts: int = 1,
    max_shapes: int = MAX_SHAPES,
    length_cost: float = LENGTH_COST,
    chunk: int | None = None,
) -> StreamLoader:
    """Returns the loader of a run on a stream, after a look at its first rows, of which the shapes are planned.

    Args:
        rows: an iterable without a length; an iterator, such as a generator, is read once and never again.
        recipe: how rows become pairs.
        max_training_steps: how long to train, which a stream does not say; it is read again as often as needed.
        num_train_epochs: must be left at 1.
        buffer_size: how many pairs are shuffled together; None is 1024.

    The other arguments are those of `easydel.data.loader.make_loader`.

    Raises:
        ConfigError: no `max_training_steps`, or settings that cannot work together.
        DataError: the first rows cannot be read, or there are none.
    """
    rows = as_rows(rows)
    check_sizes(total_batch_size, gradient_accumulation_steps, max_shapes, seed if shuffle else 0)
    steps = _checked_steps(rows, max_training_steps)
    check_stream(num_train_epochs, shuffle, buffer_size)
    buffer, key = buffer_size or BUFFER_SIZE, seed if shuffle else None
    passes, tally = _Passes(rows), Tally()
    wanted = max(buffer, _PLANNED_BATCHES * total_batch_size)
    # An endless stream of rows that are all dropped must end in an error too.
    with closing(recipe.pairs(islice(passes.look(), _ROWS_PER_PAIR * wanted), tally)) as found:
        pairs = list(islice(found, wanted))
    plan = plan_for(
        _planned_steps(pairs, buffer, key, total_batch_size, gradient_accumulation_steps),
        max_shapes=max_shapes,
        per_epoch=-(-len(pairs) // total_batch_size),
        most_steps=steps,
        shards=shards,
        parts=parts,
        length_cost=length_cost,
        chunk=chunk,
    )
    return StreamLoader(
        pairs=pairs,
        total_batch_size=total_batch_size,
        gradient_accumulation_steps=gradient_accumulation_steps,
        seed=key,
        shards=shards,
        parts=parts,
        plan=plan,
        buffer_size=buffer,
        max_training_steps=steps,
        recipe=recipe,
        _passes=passes,
        _tally=tally,
    )


def _planned_steps(
    pairs: Sequence[Pair], buffer: int, key: int | None, total_batch_size: int, gradient_accumulation_steps: int
) -> list[list[Int[np.ndarray, "items 2"]]]:
    """Returns the sizes of the first pairs by step and micro-batch, in some of the orders that they may come in."""
    measured, steps = sizes(pairs), []
    for epoch in range(1 if key is None else _PLANNED_ORDERS):
        order = list(_shuffled(range(len(pairs)), buffer, key, epoch))
        steps += steps_of(measured[order], total_batch_size, gradient_accumulation_steps)
    return steps


class _Passes:
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
        """Returns the rows of a pass; None where there is no such pass, as the stream cannot be read again."""
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


def _checked_steps(rows: Iterable[Row], max_training_steps: int | None) -> int:
    """Returns how long to train, which a stream does not say."""
    if max_training_steps is None:
        raise ConfigError(
            f"train_dataset is a stream ({type(rows).__name__}), which has no length: say with max_training_steps how "
            "long to train, or give all rows as a list."
        )
    return max_training_steps


def check_stream(num_train_epochs: float, shuffle: bool, buffer_size: int | None) -> None:
    """Raises ConfigError for settings that have no meaning for a stream, see `make_stream_loader`."""
    if num_train_epochs != 1:
        raise ConfigError(
            f"num_train_epochs = {num_train_epochs} has no meaning for a stream, which is read for max_training_steps "
            "steps, as often as that takes: leave it out."
        )
    if buffer_size is not None and not shuffle:
        raise ConfigError(
            f"shuffle_buffer_size = {buffer_size} has no meaning with shuffle_train_dataset = False: drop one of the "
            "two."
        )


def _drained(rows: deque[Row]) -> Iterator[Row]:
    while rows:
        yield rows.popleft()


def _shuffled(items: Iterable[T], size: int, seed: int | None, epoch: int) -> Iterator[T]:
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
