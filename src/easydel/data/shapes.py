"""Which fixed shapes the batches of a run take, and which pair goes to which row.

A jitted step is compiled once per shape, so a run uses a handful of them, chosen from the lengths of its own
pairs. Everything here is a pure function of lengths: a resumed run sees the same shapes as a straight one.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from easydel.errors import DataError

# One padded token costs 1 + length * LENGTH_COST: the blocks cost the same for every token, a dense attention
# mask grows with the row. 1 / (6 embed) is the ratio of the two for a decoder of that width.
LENGTH_COST = 1 / 8192
SLOT_MULTIPLE = 64
MAX_SHAPES, MAX_LENGTHS = 6, 4  # of a run, unless the plan has to be grown
_GROWTH = 1.25  # shapes outside the plan grow by this factor, so that few of them ever get compiled
_PLANNED_STEPS = 2048  # evenly spaced sample of the run that the plan is optimised for


class Shape(NamedTuple):
    """What a compiled step is specialised on: `rows` of `length` tokens, and completion `slots` per shard."""

    rows: int
    length: int
    slots: int


def round_length(tokens: int, parts: int = 1) -> int:
    """Returns the row length for `tokens`: a multiple of 8, from 512 on of 64 as attention kernels like it.

    Where devices share a row, in so many equal parts, it is a multiple of that too.

    >>> round_length(13), round_length(512), round_length(513), round_length(13, parts=3)
    (16, 512, 576, 24)
    """
    multiple = math.lcm(8 if tokens <= 512 else 64, parts)
    return math.ceil(max(tokens, 1) / multiple) * multiple


def round_slots(slots: int) -> int:
    """Returns the number of completion slots to allocate: a multiple of 8, from 64 on of 64."""
    multiple = 8 if slots <= SLOT_MULTIPLE else SLOT_MULTIPLE
    return math.ceil(max(slots, 1) / multiple) * multiple


def place(sizes: Int[np.ndarray, "items 2"], rows: int, length: int, shards: int = 1) -> list[list[int]] | None:
    """Returns which items lie in each of `rows` rows, in order, or None when they do not fit.

    `sizes` holds the tokens and the completion slots of each item. Items are placed longest first into the
    first row with room (first-fit decreasing). With several shards the shard with the fewest completion slots
    is tried first, as the head of every shard is as large as that of the fullest one; where that spreading
    wastes too much room, rows are filled in order and dealt to the shards afterwards.
    """
    if shards == 1:
        return _first_fit(sizes, rows, length)
    return _first_fit_by_load(sizes, rows, length, shards) or _deal(_first_fit(sizes, rows, length), sizes, shards)


def slots_needed(placed: list[list[int]], sizes: Int[np.ndarray, "items 2"], shards: int) -> int:
    """Returns the completion slots of the fullest shard, rows being split over shards in order."""
    per_row = np.array([sizes[row, 1].sum() for row in placed])
    return int(per_row.reshape(shards, -1).sum(1).max())


def fits(sizes: Int[np.ndarray, "items 2"], shape: Shape, shards: int = 1) -> bool:
    """Returns whether a micro-batch of these `(tokens, slots)` can be packed into `shape`."""
    placed = place(sizes, shape.rows, shape.length, shards)
    return placed is not None and slots_needed(placed, sizes, shards) <= shape.slots


def natural_shape(sizes: Int[np.ndarray, "items 2"], *, shards: int = 1, length_cost: float = LENGTH_COST) -> Shape:
    """Returns the cheapest shape for one micro-batch on its own, whatever other micro-batches look like.

    The cost of a shape is `rows * length * (1 + length * length_cost)`.
    """
    return _smallest([[sizes]], shards, length_cost)


def plan_shapes(
    steps: Sequence[Sequence[Int[np.ndarray, "items 2"]]],
    *,
    limit: int = MAX_SHAPES,
    shards: int = 1,
    parts: int = 1,
    length_cost: float = LENGTH_COST,
) -> tuple[Shape, ...]:
    """Returns at most `limit` shapes of at most MAX_LENGTHS lengths, cheapest first, that cost least over a run.

    A step is a list of micro-batches, which share one shape; a micro-batch is the `(tokens, slots)` of its
    pairs. Rows can be cut into `parts`, see `round_length`. Choosing k shapes out of all useful ones is a k-median
    problem, solved greedily and then by swaps. Every step given fits one of the shapes returned; of more than 2048
    steps an even sample does, and `shape_for` grows a shape for the others where needed.
    """
    if not steps:
        raise DataError("no batch to choose shapes for: the dataset is empty.")
    every = math.ceil(len(steps) / _PLANNED_STEPS)
    sample = [list(step) for step in steps[::every]]
    shapes, feasible = _candidates(sample, shards, parts)
    area = np.array([_cost(rows, length, length_cost) for rows, length in shapes])
    cost = np.where(feasible, area, np.inf)
    chosen = _k_median(cost, np.array([length for _, length in shapes]), limit)
    taken = np.array(chosen)[np.argmin(cost[:, chosen], axis=1)]
    plan = []
    for column in sorted(set(taken.tolist()), key=lambda column: area[column]):
        rows, length = shapes[column]
        mine = [sizes for step, at in zip(sample, taken, strict=True) if at == column for sizes in step]
        plan.append(Shape(rows, length, max(_slots(sizes, rows, length, shards) for sizes in mine)))
    return tuple(plan)


def one_row(steps: Sequence[Sequence[Int[np.ndarray, "items 2"]]], *, multiple: int) -> Shape:
    """Returns the one shape for a device that stops where the tokens end: filler costs memory there, but no time.

    The row takes every micro-batch given; its length is rounded up to `multiple`, or as `round_length` does if shorter.
    """
    if not steps:
        raise DataError("no batch to choose a shape for: the dataset is empty.")
    tokens, slots = np.array([sizes.sum(axis=0) for step in steps for sizes in step]).max(axis=0).tolist()
    length = round_length(tokens) if tokens <= multiple else math.ceil(tokens / multiple) * multiple
    return Shape(1, length, round_slots(slots))


def shape_for(
    step: Sequence[Int[np.ndarray, "items 2"]], plan: Sequence[Shape], *, shards: int = 1, parts: int = 1
) -> Shape:
    """Returns the first shape of the plan that fits every micro-batch of a step.

    Where none does, the last and largest is grown by factors of 1.25 in rows, length and slots as needed.
    The answer depends on the arguments alone, never on the steps seen before.
    """
    for shape in plan:
        if all(fits(sizes, shape, shards) for sizes in step):
            return shape
    longest = max(int(sizes[:, 0].max(initial=0)) for sizes in step)
    rows, length, slots = plan[-1] if plan else Shape(shards, round_length(8, parts), 8)
    while length < longest:
        length = round_length(math.ceil(length * _GROWTH), parts)
    while any(place(sizes, rows, length, shards) is None for sizes in step):
        rows = math.ceil(rows * _GROWTH / shards) * shards
    needed = max(_slots(sizes, rows, length, shards) for sizes in step)
    while slots < needed:
        slots = round_slots(math.ceil(slots * _GROWTH))
    return Shape(rows, length, slots)


def _first_fit(sizes: Int[np.ndarray, "items 2"], rows: int, length: int) -> list[list[int]] | None:
    room = [length] * rows
    placed: list[list[int]] = [[] for _ in range(rows)]
    tokens = sizes[:, 0].tolist()
    for item in sorted(range(len(tokens)), key=lambda item: -tokens[item]):
        row = next((row for row, left in enumerate(room) if left >= tokens[item]), None)
        if row is None:
            return None
        room[row] -= tokens[item]
        placed[row].append(item)
    return placed


def _first_fit_by_load(
    sizes: Int[np.ndarray, "items 2"], rows: int, length: int, shards: int
) -> list[list[int]] | None:
    per_shard = rows // shards
    room, load = [length] * rows, [0] * shards
    placed: list[list[int]] = [[] for _ in range(rows)]
    for item in sorted(range(len(sizes)), key=lambda item: -int(sizes[item, 0])):
        tokens, slots = sizes[item].tolist()
        candidates = (
            shard * per_shard + at
            for shard in sorted(range(shards), key=lambda shard: load[shard])
            for at in range(per_shard)
        )
        row = next((row for row in candidates if room[row] >= tokens), None)
        if row is None:
            return None
        room[row] -= tokens
        load[row // per_shard] += slots
        placed[row].append(item)
    return placed


def _deal(placed: list[list[int]] | None, sizes: Int[np.ndarray, "items 2"], shards: int) -> list[list[int]] | None:
    """Rows, fullest first, each to the shard that has the fewest slots and still takes a row."""
    if placed is None:
        return None
    per_shard = len(placed) // shards
    dealt: list[list[list[int]]] = [[] for _ in range(shards)]
    load = [0] * shards
    for row in sorted(placed, key=lambda row: -int(sizes[row, 1].sum())):
        shard = min((s for s in range(shards) if len(dealt[s]) < per_shard), key=lambda s: load[s])
        dealt[shard].append(row)
        load[shard] += int(sizes[row, 1].sum())
    return [row for shard in dealt for row in shard]


def _cost(rows: int, length: int, length_cost: float) -> float:
    return rows * length * (1 + length * length_cost)


def _slots(sizes: Int[np.ndarray, "items 2"], rows: int, length: int, shards: int) -> int:
    placed = place(sizes, rows, length, shards)
    if placed is None:
        raise DataError(f"pairs of {sizes[:, 0].tolist()} tokens do not fit {rows} rows of {length}.")
    return round_slots(slots_needed(placed, sizes, shards))


def _smallest(steps: list[list[Int[np.ndarray, "items 2"]]], shards: int, length_cost: float) -> Shape:
    shapes, feasible = _candidates(steps, shards, parts=1)
    best = min(
        (shape for shape, column in zip(shapes, feasible.T, strict=True) if column.all()),
        key=lambda shape: _cost(*shape, length_cost),
    )
    return Shape(*best, max(_slots(sizes, *best, shards) for step in steps for sizes in step))


def _candidates(
    steps: list[list[Int[np.ndarray, "items 2"]]], shards: int, parts: int
) -> tuple[list[tuple[int, int]], Bool[np.ndarray, "steps shapes"]]:
    """Every `(rows, length)` that is the tightest for some step at that length, and which steps fit it."""
    micro_batches = [sizes for step in steps for sizes in step]
    starts = np.cumsum([0] + [len(step) for step in steps[:-1]])
    most = max(len(sizes) for sizes in micro_batches)
    tokens = np.zeros((len(micro_batches), max(most, 1)), np.int64)
    for row, sizes in zip(tokens, micro_batches, strict=True):
        row[: len(sizes)] = np.sort(sizes[:, 0])[::-1]
    longest = np.maximum.reduceat(tokens[:, 0], starts)
    shapes: list[tuple[int, int]] = []
    feasible = []
    for length in _lengths(int(longest.min()), int(longest.max()), parts):
        needed = np.maximum.reduceat(_rows_needed(tokens, length), starts)
        needed = np.maximum(-(-needed // shards), 1) * shards
        needed = np.where(longest <= length, needed, np.iinfo(np.int64).max)
        for rows in np.unique(needed[longest <= length]).tolist():
            shapes.append((rows, length))
            feasible.append(needed <= rows)
    return shapes, np.stack(feasible, axis=1)


def _lengths(shortest: int, longest: int, parts: int) -> list[int]:
    """Row lengths worth trying: from the longest pair of some step to four times the longest of all."""
    lengths, top = [], round_length(4 * longest, parts)
    length = round_length(shortest, parts)
    while length <= top:
        lengths.append(length)
        length = round_length(max(length + 1, length * 65 // 64), parts)
    return lengths


def _rows_needed(tokens: Int[np.ndarray, "batches items"], length: int) -> Int[np.ndarray, "batches"]:
    """Rows that first-fit decreasing needs for each micro-batch; `tokens` descend, 0 for no pair."""
    batches, items = tokens.shape
    room = np.full((batches, items), length, np.int64)
    every = np.arange(batches)
    for item in range(items):
        row = np.argmax(room >= tokens[:, item : item + 1], axis=1)
        room[every, row] -= tokens[:, item]
    return (room < length).sum(axis=1)


def _k_median(cost: Float[np.ndarray, "steps shapes"], lengths: Int[np.ndarray, "shapes"], limit: int) -> list[int]:
    """At most `limit` columns whose minimum, summed over the steps, is small; one of them covers all steps."""

    def best_beside(others: list[int]) -> int:
        kept = cost[:, others].min(axis=1)[:, None] if others else np.inf
        total = np.minimum(kept, cost).sum(axis=0)
        known = np.unique(lengths[others])
        return int(np.argmin(np.where(np.isin(lengths, known), total, np.inf) if len(known) >= MAX_LENGTHS else total))

    covering = np.where(np.isfinite(cost).all(axis=0), cost.sum(axis=0), np.inf)
    if not np.isfinite(covering).any():
        raise DataError("no row length fits every batch: this is a bug in the choice of lengths.")
    chosen = [int(np.argmin(covering))]
    while len(chosen) < min(limit, cost.shape[1]):
        chosen.append(best_beside(chosen))
    for _ in range(8):  # swaps settle after two or three rounds
        before = list(chosen)
        for at in range(len(chosen)):
            chosen[at] = best_beside(chosen[:at] + chosen[at + 1 :])
        if chosen == before:
            break
    return chosen
