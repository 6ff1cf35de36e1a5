"""Batches of a stream: rows without a length, read, tokenized and packed as training goes, in bounded memory.

No row is read that the batches asked for do not need, but for the rest of a buffer that is shuffled together.

The order is that of the rows, shuffled in blocks of a buffer by a permutation keyed by (seed, epoch, block). A batch
depends on its position and on the rows before it: a run that continues reads these again, and from there on sees
exactly the batches that a straight run would have seen.
"""

import sys
from collections.abc import Generator, Iterable, Iterator, Sequence, Sized
from contextlib import closing
from dataclasses import dataclass
from itertools import count, islice
from typing import Any

from easydel.data.batch_layout import BatchLayout, Sizes
from easydel.data.counts import Counts, Tally, warn_about
from easydel.data.loader import START, Position, checked_seed, make_batch
from easydel.data.pack import Batch, sizes
from easydel.data.pair import Pair
from easydel.data.passes import Passes, shuffled
from easydel.data.prepare import TokenizeConfig
from easydel.data.python_rows import Row, as_rows
from easydel.data.shapes import planned
from easydel.errors import ConfigError, DataError, warn

BUFFER_SIZE = 1024
_PLANNED_BATCHES = 8  # of the first pairs, or a buffer full if that is more
# That are looked at before the first pairs are taken to be fewer than wanted: an endless stream of rows that are all
# dropped must end in an error too.
ROWS_PER_PAIR = 64
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
    layout: BatchLayout
    seed: int | None  # None keeps the order of the rows
    buffer_size: int
    max_training_steps: int
    config: TokenizeConfig
    _passes: Passes
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

    @property
    def first_pairs(self) -> Sequence[Pair]:
        """Those of `pairs` that every run of this stream looks at, however long it is to be."""
        return self.pairs[: _whole_blocks(self.layout.total_batch_size, self._block)]

    @property
    def _block(self) -> int:
        """How many pairs are read at a time."""
        return 1 if self.seed is None else self.buffer_size

    def batches(
        self, start: Position = START, *, epochs: int | None = None, steps: int | None = None
    ) -> Generator[tuple[Position, Batch], None, None]:
        """Yields each batch with the position after it; an epoch is a pass through the stream.

        The position is what a checkpoint stores: `batches(position)` continues with the next batch. It goes on to the
        end of `epochs` epochs, or for `steps` batches, None being without end. A stream that cannot be read again ends
        after the first, with a warning if that is before `max_training_steps`.

        The last of `steps` batches ends its epoch only where it is a smaller one: the stream is not asked for more.

        Raises:
            DataError: a row that cannot be read, after the whole batches before it; or a stream that was read already,
                or ends before `start`.
        """
        done, before = start.batch, 0
        left = sys.maxsize if steps is None else steps
        if not left:
            return
        for epoch in count(start.epoch) if epochs is None else range(start.epoch, epochs):
            rows = self._passes.begin(epoch)
            if rows is None:
                warn(self._at_its_end(epoch))
                return
            self._tally = Tally()
            max_pairs = _whole_blocks((done + left) * self.layout.total_batch_size, self._block)
            with closing(self.config.pairs(rows, self._tally, max_pairs=max_pairs)) as pairs:
                ordered = shuffled(pairs, self.buffer_size, self.seed, epoch)
                for is_last, batch in self._rest_of_pass(ordered, Position(epoch, done), left):
                    done, left = done + 1, left - 1
                    if not left and self._complete is None:
                        warn_about(self._tally)
                    yield Position(epoch + 1, 0) if is_last else Position(epoch, done), batch
            if not left:
                return
            if self._complete is None:
                self._complete = self._tally
                before = epoch * done  # all that can be known of passes that another process read
                warn_about(self._tally)
            before += done
            if before >= self.max_training_steps:
                return
            done = 0

    def _rest_of_pass(self, pairs: Iterator[Pair], start: Position, left: int) -> Iterator[tuple[bool, Batch]]:
        """Yields the batches of a pass from a position on, `left` at most, each with whether it is the last."""
        size = self.layout.total_batch_size
        passed = sum(1 for _ in islice(pairs, start.batch * size))
        members = list(islice(pairs, size))
        if passed < start.batch * size:
            raise DataError(
                f"the stream ended after {passed} pairs, but the run to continue had used {start.batch} batches of "
                f"{size} in pass {start.epoch + 1}: give it the stream it had."
            )
        while members and left:
            left -= 1
            following, error = _next_or_error(pairs, size) if left else ([], None)
            is_last = not following and error is None if left else len(members) < size
            yield is_last, make_batch(members, sizes(members), self.layout)
            if error is not None:
                raise error
            members = following

    def _at_its_end(self, epoch: int) -> str:
        return (
            f"the stream is at its end after pass {epoch}, before max_training_steps = {self.max_training_steps}: "
            f"{self.counts.summary()} It cannot be read again, so training ends here. Give rows that can, such as a "
            "list or a datasets.IterableDataset, or lower max_training_steps."
        )


def _next_or_error(pairs: Iterator[Pair], size: int) -> tuple[list[Pair], Exception | None]:
    try:
        return list(islice(pairs, size)), None
    except Exception as error:  # noqa: BLE001  # whatever it is, it is raised after the batch before it
        return [], error


def make_stream_loader(
    rows: Iterable[Row],
    config: TokenizeConfig,
    layout: BatchLayout,
    *,
    max_training_steps: int | None,
    num_train_epochs: float = 1,
    shuffle: bool = True,
    buffer_size: int | None = None,
    seed: int = 0,
) -> StreamLoader:
    """Returns the loader of a run on a stream, after a look at its first rows, of which the shapes are planned.

    Args:
        rows: an iterable without a length; an iterator, such as a generator, is read once and never again.
        config: how rows become pairs.
        layout: how pairs become batches.
        max_training_steps: how long to train, which a stream does not say; it is read again as often as needed.
        num_train_epochs: must be left at 1.
        buffer_size: how many pairs are shuffled together; None is 1024.

    Raises:
        ConfigError: no `max_training_steps`, or settings that cannot work together.
        DataError: the first rows cannot be read, or there are none.
    """
    rows = as_rows(rows)
    key = checked_seed(seed) if shuffle else None
    steps = _checked_steps(rows, max_training_steps)
    check_stream(num_train_epochs, shuffle, buffer_size)
    buffer = buffer_size or BUFFER_SIZE
    passes, tally = Passes(rows), Tally()
    needed = _whole_blocks(steps * layout.total_batch_size, 1 if key is None else buffer)
    wanted = min(max(buffer, _PLANNED_BATCHES * layout.total_batch_size), needed)
    with closing(config.pairs(islice(passes.look(), ROWS_PER_PAIR * wanted), tally, max_pairs=wanted)) as found:
        pairs = list(islice(found, wanted))
    looked_at = _first_steps(pairs, layout, buffer, key)
    layout = planned(layout, looked_at, steps_per_epoch=layout.steps_for(len(pairs)), max_steps=steps)
    return StreamLoader(pairs, layout, key, buffer, steps, config, passes, tally)


def _whole_blocks(pairs: int, block: int) -> int:
    """Returns how many pairs are read to have the first `pairs`, as whole blocks are read."""
    return -(-pairs // block) * block


def _first_steps(pairs: Sequence[Pair], layout: BatchLayout, buffer: int, key: int | None) -> list[list[Sizes]]:
    """Returns the sizes of the first pairs by step and micro-batch, in some of the orders that they may come in."""
    measured, steps = sizes(pairs), []
    for epoch in range(1 if key is None else _PLANNED_ORDERS):
        steps += layout.steps(measured[list(shuffled(range(len(pairs)), buffer, key, epoch))])
    return steps


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
