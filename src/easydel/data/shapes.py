"""Which fixed shapes the batches of a run take.

A jitted step is compiled once per shape, so a run uses a handful of them, chosen from the lengths of its own
pairs. Everything here is a pure function of lengths: a resumed run sees the same shapes as a straight one.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float

from easydel.data.batch_layout import LENGTH_COST, BatchLayout, Shape, Sizes, fits, place, rows_needed, slots_needed
from easydel.errors import DataError

_SLOT_MULTIPLE = 64
_GROWTH = 1.25  # shapes outside the plan grow by this factor, so that few of them ever get compiled
_PLANNED_STEPS = 2048  # evenly spaced sample of the run that the plan is optimized for
_STEPS_PER_SHAPE = 8


def round_length(tokens: int, parts: int = 1) -> int:
    """Returns the row length for `tokens`: a multiple of 8, from 512 on of 64 as attention kernels like it.

    Where devices share a row, in `parts` equal parts, it is a multiple of `parts` too.

    >>> round_length(13), round_length(512), round_length(513), round_length(13, parts=3)
    (16, 512, 576, 24)
    """
    multiple = math.lcm(8 if tokens <= 512 else 64, parts)
    return math.ceil(max(tokens, 1) / multiple) * multiple


def round_slots(slots: int) -> int:
    """Returns the number of completion slots to allocate: a multiple of 8, from 64 on of 64."""
    multiple = 8 if slots <= _SLOT_MULTIPLE else _SLOT_MULTIPLE
    return math.ceil(max(slots, 1) / multiple) * multiple


def natural_shape(sizes: Sizes, *, shards: int = 1, length_cost: float = LENGTH_COST) -> Shape:
    """Returns the cheapest shape for one micro-batch on its own, whatever other micro-batches look like.

    The cost of a shape is `rows * length * (1 + length * length_cost)`.
    """
    size = max(len(sizes), 1)
    return plan_shapes([[sizes]], BatchLayout(size, row_shards=shards, length_cost=length_cost, max_shapes=1))[0]


def planned(
    layout: BatchLayout, steps: Sequence[Sequence[Sizes]], *, steps_per_epoch: int, max_steps: int | None
) -> BatchLayout:
    """Returns the layout with the shapes of a run whose steps look like these.

    A short run, of an epoch, or `max_steps` if that is less, gets fewer: one, and another for every eight steps, as
    compiling a shape takes as long as some steps.

    Raises:
        DataError: no steps.
    """
    if layout.chunk is not None:
        return replace(layout, plan=(one_row(steps, multiple=layout.chunk),))
    count = 1 + min(steps_per_epoch, max_steps or steps_per_epoch) // _STEPS_PER_SHAPE
    return replace(layout, plan=plan_shapes(steps, replace(layout, max_shapes=min(layout.max_shapes, count))))


def plan_shapes(steps: Sequence[Sequence[Sizes]], layout: BatchLayout) -> tuple[Shape, ...]:
    """Returns at most `max_shapes` shapes, cheapest first, that cost least over a run.

    A step is a list of micro-batches, which share one shape; a micro-batch is the sizes of its pairs.
    Choosing k shapes out of all useful ones is a k-median problem, solved greedily and then by swaps. Every step given
    fits one of the shapes returned; of more than 2048 steps an even sample does, and `shape_for` grows a shape for the
    others where needed.

    Raises:
        DataError: no steps.
    """
    if not steps:
        raise DataError("no batch to choose shapes for: the dataset is empty.")
    every = math.ceil(len(steps) / _PLANNED_STEPS)
    sample = [list(step) for step in steps[::every]]
    shapes, feasible = _candidates(sample, layout)
    area = np.array([rows * length * (1 + length * layout.length_cost) for rows, length in shapes])
    cost = np.where(feasible, area, np.inf)
    chosen = _k_median(cost, layout.max_shapes)
    taken = np.array(chosen)[np.argmin(cost[:, chosen], axis=1)]
    plan = []
    for column in sorted(set(taken.tolist()), key=lambda column: area[column]):
        rows, length = shapes[column]
        mine = [sizes for step, at in zip(sample, taken, strict=True) if at == column for sizes in step]
        plan.append(Shape(rows, length, max(_slots(sizes, rows, length, layout.row_shards) for sizes in mine)))
    return tuple(plan)


def one_row(steps: Sequence[Sequence[Sizes]], *, multiple: int) -> Shape:
    """Returns the one shape for a device that stops where the tokens end: padding costs memory there, but no time.

    The row takes every micro-batch given; its length is rounded up to `multiple`, or as `round_length` does if shorter.

    Raises:
        DataError: no steps.
    """
    if not steps:
        raise DataError("no batch to choose a shape for: the dataset is empty.")
    tokens, slots = np.array([sizes.sum(axis=0) for step in steps for sizes in step]).max(axis=0).tolist()
    length = round_length(tokens) if tokens <= multiple else math.ceil(tokens / multiple) * multiple
    return Shape(1, length, round_slots(slots))


def shape_for(step: Sequence[Sizes], layout: BatchLayout) -> Shape:
    """Returns the first shape of the plan that fits every micro-batch of a step.

    If no shape does, the last and largest is grown by factors of 1.25 in rows, length and slots as needed.
    The result depends on the arguments alone, never on the steps seen before.
    """
    shards, parts = layout.row_shards, layout.length_shards
    for shape in layout.plan:
        if all(fits(sizes, shape, shards) for sizes in step):
            return shape
    longest = max(int(sizes[:, 0].max(initial=0)) for sizes in step)
    rows, length, slots = layout.plan[-1] if layout.plan else Shape(shards, round_length(8, parts), 8)
    while length < longest:
        length = round_length(math.ceil(length * _GROWTH), parts)
    while any(place(sizes, rows, length, shards) is None for sizes in step):
        rows = math.ceil(rows * _GROWTH / shards) * shards
    needed = max(_slots(sizes, rows, length, shards) for sizes in step)
    while slots < needed:
        slots = round_slots(math.ceil(slots * _GROWTH))
    return Shape(rows, length, slots)


def _slots(sizes: Sizes, rows: int, length: int, shards: int) -> int:
    placed = place(sizes, rows, length, shards)
    if placed is None:
        raise DataError(f"pairs of {sizes[:, 0].tolist()} tokens do not fit {rows} rows of {length}.")
    return round_slots(slots_needed(placed, sizes, shards))


def _candidates(
    steps: list[list[Sizes]], layout: BatchLayout
) -> tuple[list[tuple[int, int]], Bool[np.ndarray, "steps shapes"]]:
    """Every `(rows, length)` that is the tightest for some step at that length, and which steps fit it."""
    micro_batches = [sizes for step in steps for sizes in step]
    starts = np.cumsum([0] + [len(step) for step in steps[:-1]])
    most_pairs = max(1, *(len(sizes) for sizes in micro_batches))
    tokens = np.zeros((len(micro_batches), most_pairs), np.int64)
    for row, sizes in zip(tokens, micro_batches, strict=True):
        row[: len(sizes)] = np.sort(sizes[:, 0])[::-1]
    longest = np.maximum.reduceat(tokens[:, 0], starts)
    shapes: list[tuple[int, int]] = []
    feasible = []
    for length in _lengths(int(longest.min()), int(longest.max()), layout.length_shards):
        needed = np.maximum.reduceat(rows_needed(tokens, length), starts)
        needed = np.maximum(-(-needed // layout.row_shards), 1) * layout.row_shards
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


def _k_median(cost: Float[np.ndarray, "steps shapes"], limit: int) -> list[int]:
    """At most `limit` columns whose minimum, summed over the steps, is small; one of them covers all steps."""

    def best_beside(others: list[int]) -> int:
        kept = cost[:, others].min(axis=1)[:, None] if others else np.inf
        return int(np.argmin(np.minimum(kept, cost).sum(axis=0)))

    covering = np.where(np.isfinite(cost).all(axis=0), cost.sum(axis=0), np.inf)
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
