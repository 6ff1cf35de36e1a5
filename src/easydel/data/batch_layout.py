"""How the pairs of a run lie in its batches: their layout as one value, and which pair goes to which row.

Pairs are placed whole, first-fit decreasing, evenly over the shards.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from easydel.errors import ConfigError

# One padded token costs 1 + length * LENGTH_COST: the blocks cost the same for every token, a dense attention
# mask grows with the row. 1 / (6 embed) is the ratio of the two for a decoder of that width.
LENGTH_COST = 1 / 8192
# Of a run on devices where padding costs time. With ten lengths of rows a batch of 64 pairs, whose tokens vary by some
# 8 % from one to the next, has at most 3 % of padding; four lengths left up to 5 % (`tests/data/test_shapes.py`).
MAX_SHAPES = 10

Sizes = Int[np.ndarray, "_ 2"]
"""Tokens in the row and completion slots of each pair of a micro-batch."""


class Shape(NamedTuple):
    """What a compiled step is specialized on: `rows` of `length` tokens, and completion `slots` per shard."""

    rows: int
    length: int
    slots: int


@dataclass(frozen=True)
class BatchLayout:
    """How many pairs make a step, how they are split over micro-batches and devices, and which shapes they take.

    Raises:
        ConfigError: a size below 1, or a batch that cannot be split into equal micro-batches.
    """

    total_batch_size: int  # pairs per step
    gradient_accumulation_steps: int = 1  # micro-batches per step
    row_shards: int = 1  # equal groups of rows, each on devices of its own, with completion slots of its own
    length_shards: int = 1  # equal parts of every row, each on a device of its own
    length_cost: float = LENGTH_COST  # what a longer row costs in attention, per token and token of the row
    max_shapes: int = MAX_SHAPES  # that are planned, and so compiled
    chunk: int | None = None  # tokens that the model computes at a time, up to the last; all batches are then one row
    plan: tuple[Shape, ...] = ()  # shapes that a step chooses from, cheapest first; see `shapes.planned`

    def __post_init__(self) -> None:
        for name in ("total_batch_size", "gradient_accumulation_steps", "max_shapes"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least 1.")
        if self.total_batch_size % self.gradient_accumulation_steps:
            raise ConfigError(
                f"total_batch_size {self.total_batch_size} is not a multiple of gradient_accumulation_steps "
                f"{self.gradient_accumulation_steps}: a step could not be split into equal micro-batches."
            )

    @property
    def micro_batch_size(self) -> int:
        """Pairs per micro-batch, those of no length included."""
        return self.total_batch_size // self.gradient_accumulation_steps

    def steps_for(self, pairs: int) -> int:
        """Returns how many steps an epoch of `pairs` pairs takes; the last may be smaller."""
        return -(-pairs // self.total_batch_size)

    def micro_batches(self, sizes: Sizes) -> list[list[int]]:
        """Returns which pairs of a step, given their sizes, each micro-batch holds, in their own order."""
        return [sorted(group) for group in deal(sizes[:, 0], self.gradient_accumulation_steps)]

    def steps(self, sizes: Int[np.ndarray, "pairs 2"]) -> Iterator[list[Sizes]]:
        """Yields for each step the sizes of the pairs of its micro-batches, given all in the order of training."""
        for first in range(0, len(sizes), self.total_batch_size):
            step = sizes[first : first + self.total_batch_size]
            yield [step[group] for group in self.micro_batches(step)]


def deal(sizes: Int[np.ndarray, "items"], groups: int) -> list[list[int]]:
    """Returns the numbers of items in `groups` groups of equal count (to within one) and nearly equal size.

    Largest first, each goes to the group with the smallest sum that still takes one; they stay in that order.

    >>> deal(np.array([1, 8, 2, 6, 1, 2]), 2)  # 8 + 2 + 1 and 6 + 2 + 1
    [[1, 5, 4], [3, 2, 0]]
    """
    base, extra = divmod(len(sizes), groups)
    room = [base + (group < extra) for group in range(groups)]
    load = [0] * groups
    taken: list[list[int]] = [[] for _ in range(groups)]
    for at in np.argsort(-sizes, kind="stable").tolist():
        group = min((g for g in range(groups) if len(taken[g]) < room[g]), key=lambda g: load[g])
        taken[group].append(at)
        load[group] += int(sizes[at])
    return taken


def place(sizes: Sizes, rows: int, length: int, shards: int = 1) -> list[list[int]] | None:
    """Returns which items lie in each of `rows` rows, in order, or None when they do not fit.

    `sizes` `[items, 2]` holds the tokens and the completion slots of each item. Items are placed longest first into the
    first row with room (first-fit decreasing). With several shards the shard with the fewest completion slots
    is tried first, as the head of every shard is as large as that of the fullest one; where that spreading
    wastes too much room, rows are filled in order and dealt to the shards afterwards.
    """
    placed = _first_fit(sizes, rows, length, shards)
    if placed is not None or shards == 1:
        return placed
    in_order = _first_fit(sizes, rows, length)
    if in_order is None:
        return None
    dealt = deal(np.array([sizes[row, 1].sum() for row in in_order]), shards)
    return [in_order[row] for shard in dealt for row in shard]


def slots_needed(placed: list[list[int]], sizes: Sizes, shards: int) -> int:
    """Returns the completion slots of the fullest shard, rows being split over shards in order."""
    per_row = np.array([sizes[row, 1].sum() for row in placed])
    return int(per_row.reshape(shards, -1).sum(1).max())


def fits(sizes: Sizes, shape: Shape, shards: int = 1) -> bool:
    """Returns whether a micro-batch of these `(tokens, slots)` can be packed into `shape`."""
    placed = place(sizes, shape.rows, shape.length, shards)
    return placed is not None and slots_needed(placed, sizes, shards) <= shape.slots


def _first_fit(sizes: Sizes, rows: int, length: int, shards: int = 1) -> list[list[int]] | None:
    """Items into the first row with room, of the shard with the fewest slots that has such a row."""
    per_shard = rows // shards
    parts = [range(at, at + per_shard) for at in range(0, rows, per_shard)]
    room, load = [length] * rows, [0] * shards
    placed: list[list[int]] = [[] for _ in range(rows)]
    for item, (tokens, slots) in sorted(enumerate(sizes.tolist()), key=lambda each: -each[1][0]):
        order = sorted(range(shards), key=load.__getitem__) if shards > 1 else (0,)
        row = next((row for shard in order for row in parts[shard] if room[row] >= tokens), None)
        if row is None:
            return None
        room[row] -= tokens
        load[row // per_shard] += slots
        placed[row].append(item)
    return placed


def rows_needed(tokens: Int[np.ndarray, "batches items"], length: int) -> Int[np.ndarray, "batches"]:
    """Returns the rows that first-fit decreasing needs for each micro-batch; `tokens` descend, 0 for no pair."""
    batches, items = tokens.shape
    room = np.full((batches, items), length, np.int64)
    every = np.arange(batches)
    for item in range(items):
        row = np.argmax(room >= tokens[:, item : item + 1], axis=1)
        room[every, row] -= tokens[:, item]
    return (room < length).sum(axis=1)
