"""Batches in the order of a run, from any position of it.

The order is a permutation keyed by (seed, epoch), and a batch depends on its position alone, so a run that
continues from a position sees exactly the batches a straight run would have seen.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from easydel.data.batch_layout import BatchLayout, Sizes
from easydel.data.pack import Batch, pack, sizes, stack
from easydel.data.pair import Pair
from easydel.data.shapes import planned, shape_for
from easydel.errors import ConfigError, DataError

_PLANNED_EPOCHS = 3  # a fixed number, so that training for longer does not change the shapes


class Position(NamedTuple):
    """Where a run is in its data: `batch` batches of epoch `epoch` (from 0) have been used."""

    epoch: int = 0
    batch: int = 0


START = Position()


@dataclass(frozen=True)
class Loader:
    """The batches of a dataset. Make one with `make_loader`."""

    pairs: Sequence[Pair]
    measured: Int[np.ndarray, "pairs 2"]  # tokens and completion slots of each pair
    layout: BatchLayout
    seed: int | None  # None keeps the order of the data

    @property
    def steps_per_epoch(self) -> int:
        """Batches in an epoch; the last may be smaller and is kept."""
        return self.layout.steps_for(len(self.pairs))

    def order(self, epoch: int) -> Int[np.ndarray, "pairs"]:
        """Returns the order of the pairs in an epoch."""
        return _order(len(self.pairs), self.seed, epoch)

    def batch(self, position: Position) -> Batch:
        """Returns the batch that follows a position, with the leading `micro` axis."""
        first = position.batch * self.layout.total_batch_size
        members = self.order(position.epoch)[first : first + self.layout.total_batch_size]
        return make_batch([self.pairs[at] for at in members], self.measured[members], self.layout)

    def batches(self, start: Position = START, *, epochs: int | None = 1) -> Iterator[tuple[Position, Batch]]:
        """Yields, up to the end of `epochs` epochs (None: without end), each batch with the position after it.

        The position is what a checkpoint stores: `batches(position)` continues with the next batch.

        Raises:
            DataError: a position outside an epoch.
        """
        epoch, at = start
        if not 0 <= at <= self.steps_per_epoch:
            raise DataError(f"position {at} is outside an epoch of {self.steps_per_epoch} batches.")
        while epochs is None or epoch < epochs:
            for batch in range(at, self.steps_per_epoch):
                last = batch + 1 == self.steps_per_epoch
                after = Position(epoch + 1, 0) if last else Position(epoch, batch + 1)
                yield after, self.batch(Position(epoch, batch))
            epoch, at = epoch + 1, 0


def make_loader(
    pairs: Sequence[Pair],
    layout: BatchLayout,
    *,
    shuffle: bool = True,
    seed: int = 0,
    max_steps: int | None = None,
) -> Loader:
    """Returns the loader of a run, whose shapes are planned for its first epochs, or `max_steps` if that is less.

    Evaluation takes `shuffle=False` and one epoch.

    Raises:
        ConfigError: a seed below 0.
        DataError: no pairs.
    """
    key = checked_seed(seed) if shuffle else None
    if not pairs:
        raise DataError("there are no pairs to make batches of.")
    measured = sizes(pairs)
    orders = (_order(len(pairs), key, epoch) for epoch in range(_PLANNED_EPOCHS if shuffle else 1))
    steps = [step for order in orders for step in layout.steps(measured[order])]
    layout = planned(layout, steps, steps_per_epoch=layout.steps_for(len(pairs)), max_steps=max_steps)
    return Loader(pairs, measured, layout, key)


def checked_seed(seed: int) -> int:
    """Returns the seed; raises ConfigError for one below 0."""
    if seed < 0:
        raise ConfigError(f"seed is {seed}; it must not be negative.")
    return seed


def make_batch(pairs: Sequence[Pair], measured: Sizes, layout: BatchLayout) -> Batch:
    """Returns the pairs of one step, `total_batch_size` or fewer, with the leading `micro` axis.

    Args:
        measured: the sizes of the pairs.
        layout: its plan has the shapes to choose from; one of its own is made where none fits.
    """
    groups = layout.micro_batches(measured)
    shape = shape_for([measured[group] for group in groups], layout)
    size, shards = layout.micro_batch_size, layout.row_shards
    return stack([pack([pairs[at] for at in each], shape=shape, shards=shards, pad_pairs_to=size) for each in groups])


@lru_cache(maxsize=4)
def _order(count: int, seed: int | None, epoch: int) -> Int[np.ndarray, "pairs"]:
    if seed is None:
        return np.arange(count)
    key = np.random.SeedSequence([seed, epoch])
    return np.random.Generator(np.random.Philox(key)).permutation(count)
