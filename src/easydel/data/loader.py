"""Batches in the order of a run, from any position of it, made ahead of the device in a background thread.

The order is a permutation keyed by (seed, epoch), and a batch depends on its position alone, so a run that
continues from a position sees exactly the batches a straight run would have seen.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np
from jaxtyping import Int

from easydel.data.pack import Batch, pack, sizes, stack
from easydel.data.pair import Pair
from easydel.data.shapes import LENGTH_COST, MAX_SHAPES, Shape, one_row, plan_shapes, shape_for
from easydel.errors import ConfigError, DataError, Interrupted

_STEPS_PER_SHAPE = 8
_PLANNED_EPOCHS = 3  # a fixed number, so that training for longer does not change the shapes
T = TypeVar("T")


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
    total_batch_size: int
    gradient_accumulation_steps: int
    seed: int | None  # None keeps the order of the data
    shards: int
    plan: tuple[Shape, ...]
    parts: int = 1  # of every row, see `shapes.round_length`

    @property
    def steps_per_epoch(self) -> int:
        """Batches in an epoch; the last may be smaller and is kept."""
        return -(-len(self.pairs) // self.total_batch_size)

    def order(self, epoch: int) -> Int[np.ndarray, "pairs"]:
        """Returns the order of the pairs in an epoch."""
        return _order(len(self.pairs), self.seed, epoch)

    def batch(self, position: Position) -> Batch:
        """Returns the batch that follows a position, with the leading `micro` axis."""
        first = position.batch * self.total_batch_size
        members = self.order(position.epoch)[first : first + self.total_batch_size]
        return make_batch(
            [self.pairs[i] for i in members],
            self.measured[members],
            self.plan,
            total_batch_size=self.total_batch_size,
            gradient_accumulation_steps=self.gradient_accumulation_steps,
            shards=self.shards,
            parts=self.parts,
        )

    def batches(self, start: Position = START, *, epochs: int | None = 1) -> Iterator[tuple[Position, Batch]]:
        """Yields, up to the end of `epochs` epochs (None: without end), each batch with the position after it.

        The position is what a checkpoint stores: `batches(position)` continues with the next batch.
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
    *,
    total_batch_size: int,
    gradient_accumulation_steps: int = 1,
    shuffle: bool = True,
    seed: int = 0,
    shards: int = 1,
    parts: int = 1,
    max_shapes: int = MAX_SHAPES,
    length_cost: float = LENGTH_COST,
    most_steps: int | None = None,
    chunk: int | None = None,
) -> Loader:
    """Returns the loader of a run: `total_batch_size` pairs per step, in as many micro-batches as asked for.

    `max_shapes` bounds the shapes that are planned, and so the compilations; a short run gets fewer, as compiling a
    shape takes as long as some steps: an epoch, or `most_steps` if that is less. `length_cost` is what a longer row
    costs in attention (see `LENGTH_COST`). Rows are dealt to `shards` devices, and each is cut into `parts`. With a
    `chunk`, the slots that the model computes at a time up to the last token, all batches have one shape of one row.
    Evaluation takes `shuffle=False` and one epoch.

    Raises:
        ConfigError: a batch that cannot be split into equal micro-batches.
        DataError: no pairs.
    """
    check_sizes(total_batch_size, gradient_accumulation_steps, max_shapes, seed if shuffle else 0)
    if not pairs:
        raise DataError("there are no pairs to make batches of.")
    measured = sizes(pairs)
    key = seed if shuffle else None
    orders = (_order(len(pairs), key, epoch) for epoch in range(_PLANNED_EPOCHS if shuffle else 1))
    steps = [
        step for order in orders for step in steps_of(measured[order], total_batch_size, gradient_accumulation_steps)
    ]
    plan = plan_for(
        steps,
        max_shapes=max_shapes,
        per_epoch=-(-len(pairs) // total_batch_size),
        most_steps=most_steps,
        shards=shards,
        parts=parts,
        length_cost=length_cost,
        chunk=chunk,
    )
    return Loader(pairs, measured, total_batch_size, gradient_accumulation_steps, key, shards, plan, parts)


def plan_for(
    steps: Sequence[Sequence[Int[np.ndarray, "items 2"]]],
    *,
    max_shapes: int,
    per_epoch: int,
    most_steps: int | None,
    shards: int,
    parts: int,
    length_cost: float,
    chunk: int | None,
) -> tuple[Shape, ...]:
    """Returns the shapes of a run whose steps look like these, see `make_loader`; an epoch has `per_epoch` steps."""
    if chunk is not None:
        return (one_row(steps, multiple=chunk),)
    limit = shape_limit(max_shapes, per_epoch, most_steps)
    return plan_shapes(steps, limit=limit, shards=shards, parts=parts, length_cost=length_cost)


def shape_limit(max_shapes: int, per_epoch: int, most_steps: int | None) -> int:
    """Returns how many shapes a run gets: one, and another for every eight steps.

    >>> shape_limit(6, 20, None), shape_limit(6, 1000, None), shape_limit(6, 1000, 5)
    (3, 6, 1)
    """
    return min(max_shapes, 1 + min(per_epoch, most_steps or per_epoch) // _STEPS_PER_SHAPE)


def check_sizes(total_batch_size: int, gradient_accumulation_steps: int, max_shapes: int, seed: int) -> None:
    """Raises ConfigError for sizes that no batch can have."""
    for name, value in (
        ("total_batch_size", total_batch_size),
        ("gradient_accumulation_steps", gradient_accumulation_steps),
        ("max_shapes", max_shapes),
    ):
        if value < 1:
            raise ConfigError(f"{name} is {value}; it must be at least 1.")
    if total_batch_size % gradient_accumulation_steps:
        raise ConfigError(
            f"total_batch_size {total_batch_size} is not a multiple of gradient_accumulation_steps "
            f"{gradient_accumulation_steps}: a step could not be split into equal micro-batches."
        )
    if seed < 0:
        raise ConfigError(f"seed is {seed}; it must not be negative.")


def steps_of(
    measured: Int[np.ndarray, "pairs 2"], total_batch_size: int, gradient_accumulation_steps: int
) -> list[list[Int[np.ndarray, "items 2"]]]:
    """Returns the sizes of pairs, given in the order of training, by step and micro-batch."""
    steps = []
    for first in range(0, len(measured), total_batch_size):
        sizes = measured[first : first + total_batch_size]
        groups = split_evenly(np.arange(len(sizes)), sizes[:, 0], gradient_accumulation_steps)
        steps.append([sizes[group] for group in groups])
    return steps


def make_batch(
    pairs: Sequence[Pair],
    measured: Int[np.ndarray, "pairs 2"],
    plan: Sequence[Shape],
    *,
    total_batch_size: int,
    gradient_accumulation_steps: int,
    shards: int,
    parts: int,
) -> Batch:
    """Returns the pairs of one step, `total_batch_size` or fewer, with the leading `micro` axis.

    Args:
        measured: the sizes of the pairs.
        plan: shapes to choose from; one of its own is made where none fits.
    """
    groups = split_evenly(np.arange(len(pairs)), measured[:, 0], gradient_accumulation_steps)
    shape = shape_for([measured[group] for group in groups], plan, shards=shards, parts=parts)
    most = total_batch_size // gradient_accumulation_steps
    return stack([pack([pairs[i] for i in group], shape=shape, shards=shards, pad_pairs_to=most) for group in groups])


def split_evenly(members: Int[np.ndarray, "members"], tokens: Int[np.ndarray, "pairs"], groups: int) -> list[list[int]]:
    """Returns the members in `groups` groups of equal number (to within one) and nearly equal tokens.

    Longest first, each goes to the group with the fewest tokens that still takes one. Within a group the
    order of the members is kept.
    """
    if groups == 1:
        return [members.tolist()]
    base, extra = divmod(len(members), groups)
    room = [base + (group < extra) for group in range(groups)]
    load = [0] * groups
    taken: list[list[int]] = [[] for _ in range(groups)]
    for at in np.argsort(-tokens[members], kind="stable").tolist():
        group = min((g for g in range(groups) if len(taken[g]) < room[g]), key=lambda g: load[g])
        taken[group].append(at)
        load[group] += int(tokens[members[at]])
    return [members[sorted(group)].tolist() for group in taken]


@contextmanager
def prefetch(
    items: Iterator[T], depth: int = 2, *, wait_for: Callable[[Future], Any] = Future.result
) -> Iterator[Iterator[T]]:
    """Gives the items of an iterator, made up to `depth` ahead in one thread, which ends with the context.

    A generator is closed with the context. An exception in the thread is raised at its place in the order.

    >>> with prefetch(iter("ab")) as letters:
    ...     list(letters)
    ['a', 'b']

    Args:
        wait_for: gives the result of a future. Where it raises Interrupted the thread is left to itself, as a stream
            may give its next row in an hour.
    """
    worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="batches")
    leave = False
    try:
        end = object()
        waiting = deque(worker.submit(next, items, end) for _ in range(depth))
        yield _ahead(items, worker, waiting, end, wait_for)
    except Interrupted:
        leave = True
        raise
    finally:
        worker.shutdown(wait=not leave, cancel_futures=True)
        if isinstance(items, Generator) and not leave:
            items.close()


def _ahead(
    items: Iterator[T],
    worker: ThreadPoolExecutor,
    waiting: deque[Future[T | object]],
    end: object,
    wait_for: Callable[[Future], Any],
) -> Iterator[T]:
    while (item := wait_for(waiting.popleft())) is not end:
        waiting.append(worker.submit(next, items, end))
        yield cast(T, item)


@lru_cache(maxsize=4)
def _order(count: int, seed: int | None, epoch: int) -> Int[np.ndarray, "pairs"]:
    if seed is None:
        return np.arange(count)
    key = np.random.SeedSequence([seed, epoch])
    return np.random.Generator(np.random.Philox(key)).permutation(count)
