import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from easydel.data.pack import sizes
from easydel.data.shapes import (
    MAX_LENGTHS,
    MAX_SHAPES,
    Shape,
    fits,
    natural_shape,
    place,
    plan_shapes,
    round_length,
    round_slots,
    shape_for,
    slots_needed,
)
from easydel.errors import DataError
from oracles.pairs import random_pairs

SIZES = st.lists(st.tuples(st.integers(3, 60), st.integers(2, 40)), min_size=1, max_size=10).map(np.array)


def batches_of(count: int, size: int, seed: int = 0) -> list[list[np.ndarray]]:
    measured = sizes(random_pairs(count, seed))
    return [[measured[at : at + size]] for at in range(0, count, size)]


def waste(steps: list[list[np.ndarray]], shapes: list[Shape]) -> float:
    tokens = sum(int(sizes[:, 0].sum()) for step in steps for sizes in step)
    room = sum(shape.rows * shape.length * len(step) for step, shape in zip(steps, shapes, strict=True))
    return 1 - tokens / room


@given(sizes=SIZES, per_shard=st.integers(1, 6), shards=st.integers(1, 3), length=st.integers(60, 150))
@settings(max_examples=100, deadline=None)
def test_every_item_is_placed_once_and_no_row_overflows(sizes, per_shard, shards, length):
    rows = per_shard * shards
    placed = place(sizes, rows, length, shards)
    if placed is None:
        # First-fit fills every two rows beyond one row's length, so failing means that the room was scarce.
        assert 2 * sizes[:, 0].sum() > rows * length - length
        return
    assert len(placed) == rows
    assert sorted(itertools.chain(*placed)) == list(range(len(sizes)))
    assert all(sizes[row, 0].sum() <= length for row in placed)


def test_the_longest_items_are_placed_first_and_into_the_first_row_with_room():
    sizes = np.array([(3, 1), (6, 1), (5, 1), (4, 1)])
    assert place(sizes, 2, 10) == [[1, 3], [2, 0]]


def test_shards_get_even_shares_of_the_completion_slots():
    sizes = np.array([(10, 8)] * 8)
    placed = place(sizes, 8, 20, shards=4)
    assert placed is not None
    assert slots_needed(placed, sizes, 4) == 16


@given(sizes=SIZES, shards=st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_the_natural_shape_fits_and_has_aligned_sides(sizes, shards):
    shape = natural_shape(sizes, shards=shards)
    assert fits(sizes, shape, shards)
    assert shape.rows % shards == 0
    assert shape.length % 8 == 0
    assert shape.slots % 8 == 0


def test_a_costlier_attention_makes_rows_shorter():
    [[measured]] = batches_of(32, 32)
    lengths = [natural_shape(measured, length_cost=cost).length for cost in (0.0, 1e-3, 1.0)]
    assert lengths == sorted(lengths, reverse=True)
    assert lengths[0] > lengths[-1] == round_length(int(measured[:, 0].max()))


@given(seed=st.integers(0, 50), size=st.integers(1, 12), shards=st.integers(1, 3), limit=st.integers(1, 5))
@settings(max_examples=30, deadline=None)
def test_a_plan_has_few_shapes_and_every_step_fits_one(seed, size, shards, limit):
    steps = batches_of(60, size, seed)
    plan = plan_shapes(steps, limit=limit, shards=shards)
    assert 1 <= len(plan) <= limit
    for step in steps:
        shape = shape_for(step, plan, shards=shards)
        assert shape in plan
        assert all(fits(sizes, shape, shards) for sizes in step)


def test_a_plan_is_as_good_as_the_best_of_all_sets_of_two_shapes():
    """Greedy and swaps against trying every pair of candidate columns, on the cost of the plan itself."""
    steps = batches_of(40, 4)
    cost_of = {shape: shape.rows * shape.length for shape in plan_shapes(steps, limit=99, length_cost=0.0)}
    plan = plan_shapes(steps, limit=2, length_cost=0.0)
    reached = sum(shape.rows * shape.length for shape in (shape_for(step, plan) for step in steps))
    best = min(
        sum(min((cost_of[s] for s in two if all(fits(x, s) for x in step)), default=10**9) for step in steps)
        for two in itertools.combinations(cost_of, 2)
    )
    assert reached <= best


def test_four_shapes_leave_little_padding():
    for size, most in ((8, 0.10), (64, 0.05)):
        steps = batches_of(1600, size)
        plan = plan_shapes(steps, length_cost=0.0)
        assert waste(steps, [shape_for(step, plan) for step in steps]) <= most


def test_more_shapes_never_cost_more():
    steps = batches_of(400, 8)
    wastes = []
    for limit in (1, 2, 4, 8):
        plan = plan_shapes(steps, limit=limit, length_cost=0.0)
        wastes.append(waste(steps, [shape_for(step, plan) for step in steps]))
    assert wastes == sorted(wastes, reverse=True)


@given(sizes=SIZES, shards=st.integers(1, 3))
@settings(max_examples=60, deadline=None)
def test_a_batch_outside_the_plan_gets_a_grown_shape_that_fits(sizes, shards):
    plan = (Shape(shards, 24, 8),)
    shape = shape_for([sizes], plan, shards=shards)
    assert fits(sizes, shape, shards)
    assert shape.rows % shards == 0


def test_batches_outside_the_plan_share_few_shapes():
    plan = plan_shapes(batches_of(200, 8, seed=0)[:3])
    grown = {shape_for(step, plan) for step in batches_of(2000, 8, seed=1)} - set(plan)
    assert len(grown) <= 12


def test_the_micro_batches_of_a_step_share_a_shape_that_fits_the_largest():
    small, large = np.array([(5, 3)]), np.array([(20, 10), (20, 10)])
    [shape] = plan_shapes([[small, large]])
    assert fits(large, shape)
    assert shape_for([large, small], [shape]) == shape


def test_long_runs_are_planned_on_a_sample():
    steps = batches_of(20_000, 8)
    plan = plan_shapes(steps)
    assert len(plan) <= MAX_SHAPES
    assert len({shape.length for shape in plan}) <= MAX_LENGTHS
    grown = [shape_for(step, plan) for step in steps]
    assert sum(shape not in plan for shape in grown) <= 10  # of 2500


def test_rounding_is_finer_for_short_rows():
    assert [round_length(n) for n in (1, 8, 9, 511, 512, 513, 1000)] == [8, 8, 16, 512, 512, 576, 1024]
    assert [round_slots(n) for n in (0, 9, 64, 65, 200)] == [8, 16, 64, 128, 256]


def test_no_steps_are_an_error():
    with pytest.raises(DataError, match="the dataset is empty"):
        plan_shapes([])
