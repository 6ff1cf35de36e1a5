import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from easydel.data.batch_layout import LENGTH_COST, MAX_SHAPES, BatchLayout, Shape, fits
from easydel.data.pack import sizes
from easydel.data.shapes import natural_shape, plan_shapes, planned, round_length, round_slots, shape_for
from easydel.errors import DataError
from oracles.pairs import random_pairs

SIZES = st.lists(st.tuples(st.integers(3, 60), st.integers(2, 40)), min_size=1, max_size=10).map(np.array)


def batches_of(count: int, size: int, seed: int = 0) -> list[list[np.ndarray]]:
    measured = sizes(random_pairs(count, seed))
    return [[measured[at : at + size]] for at in range(0, count, size)]


def layout_of(steps: list[list[np.ndarray]], *, length_cost: float = 0.0, **options: int) -> BatchLayout:
    layout = BatchLayout(1, length_cost=length_cost, **options)
    return replace(layout, plan=plan_shapes(steps, layout))


def waste(steps: list[list[np.ndarray]], shapes: list[Shape]) -> float:
    tokens = sum(int(sizes[:, 0].sum()) for step in steps for sizes in step)
    room = sum(shape.rows * shape.length * len(step) for step, shape in zip(steps, shapes, strict=True))
    return 1 - tokens / room


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
    layout = layout_of(steps, max_shapes=limit, row_shards=shards)
    assert 1 <= len(layout.plan) <= limit
    for step in steps:
        shape = shape_for(step, layout)
        assert shape in layout.plan
        assert all(fits(sizes, shape, shards) for sizes in step)


def test_a_plan_is_as_good_as_the_best_of_all_sets_of_two_shapes():
    """Greedy and swaps against trying every pair of candidate columns, on the cost of the plan itself."""
    steps = batches_of(40, 4)
    cost_of = {shape: shape.rows * shape.length for shape in layout_of(steps, max_shapes=99).plan}
    layout = layout_of(steps, max_shapes=2)
    reached = sum(shape.rows * shape.length for shape in (shape_for(step, layout) for step in steps))
    best = min(
        sum(min((cost_of[s] for s in two if all(fits(x, s) for x in step)), default=10**9) for step in steps)
        for two in itertools.combinations(cost_of, 2)
    )
    assert reached <= best


@pytest.mark.parametrize(
    ("pairs", "split", "most"),
    [
        (8, {}, 0.06),
        (64, {}, 0.02),
        (64, {"gradient_accumulation_steps": 8}, 0.03),
        (64, {"row_shards": 8}, 0.03),
        (64, {"row_shards": 4, "gradient_accumulation_steps": 4}, 0.05),  # four pairs a row
    ],
    ids=["8 pairs", "64 pairs", "accumulated", "on 8 shards", "accumulated on 4 shards"],
)
@pytest.mark.parametrize("seed", range(3))
def test_little_of_a_run_is_padding(pairs, split, most, seed):
    """Of 200 updates, whose pairs are of skewed lengths and have 450 tokens on average."""
    lengths = np.random.default_rng(seed).gamma(2.0, 75.0, (200 * pairs, 3)).astype(int).clip(1, 1000)
    measured = np.stack([lengths.sum(axis=1), lengths[:, 1:].sum(axis=1)], axis=1)
    layout = BatchLayout(pairs, length_cost=0.0, **split)
    steps = list(layout.steps(measured))
    layout = planned(layout, steps, steps_per_epoch=200, max_steps=None)
    assert len(layout.plan) <= MAX_SHAPES
    assert waste(steps, [shape_for(step, layout) for step in steps]) <= most


def test_more_shapes_never_cost_more():
    steps = batches_of(400, 8)
    wastes = []
    for limit in (1, 2, 4, 8):
        layout = layout_of(steps, max_shapes=limit)
        wastes.append(waste(steps, [shape_for(step, layout) for step in steps]))
    assert wastes == sorted(wastes, reverse=True)


@given(sizes=SIZES, shards=st.integers(1, 3))
@settings(max_examples=60, deadline=None)
def test_a_batch_outside_the_plan_gets_a_grown_shape_that_fits(sizes, shards):
    layout = BatchLayout(len(sizes), row_shards=shards, plan=(Shape(shards, 24, 8),))
    shape = shape_for([sizes], layout)
    assert fits(sizes, shape, shards)
    assert shape.rows % shards == 0


def test_batches_outside_the_plan_share_few_shapes():
    layout = layout_of(batches_of(200, 8, seed=0)[:3], length_cost=LENGTH_COST)
    grown = {shape_for(step, layout) for step in batches_of(2000, 8, seed=1)} - set(layout.plan)
    assert len(grown) <= 12


def test_the_micro_batches_of_a_step_share_a_shape_that_fits_the_largest():
    small, large = np.array([(5, 3)]), np.array([(20, 10), (20, 10)])
    layout = layout_of([[small, large]])
    [shape] = layout.plan
    assert fits(large, shape)
    assert shape_for([large, small], layout) == shape


def test_long_runs_are_planned_on_a_sample():
    steps = batches_of(20_000, 8)
    layout = layout_of(steps, length_cost=LENGTH_COST)
    assert len(layout.plan) <= MAX_SHAPES
    grown = [shape_for(step, layout) for step in steps]
    assert sum(shape not in layout.plan for shape in grown) <= 10  # of 2500


@pytest.mark.parametrize(("chunk", "length"), [(512, 56), (32, 64)])
def test_a_device_that_stops_where_the_tokens_end_has_one_row_for_all_batches(chunk, length):
    """Of 20 + 31 tokens at most: rounded as any row where that is shorter than a chunk, else to whole chunks."""
    steps = [[np.array([(20, 10), (31, 12)])], [np.array([(9, 4)])]]
    layout = planned(BatchLayout(2, chunk=chunk), steps, steps_per_epoch=2, max_steps=None)
    assert layout.plan == (Shape(1, length, 24),)


def test_a_short_run_compiles_fewer_shapes():
    steps = batches_of(800, 8)
    limits = [len(planned(BatchLayout(8), steps, steps_per_epoch=100, max_steps=most).plan) for most in (5, 8, None)]
    assert limits == [1, 2, MAX_SHAPES]


def test_rounding_is_finer_for_short_rows():
    assert [round_length(n) for n in (1, 8, 9, 511, 512, 513, 1000)] == [8, 8, 16, 512, 512, 576, 1024]
    assert [round_slots(n) for n in (0, 9, 64, 65, 200)] == [8, 16, 64, 128, 256]


def test_no_steps_are_an_error():
    with pytest.raises(DataError, match="the dataset is empty"):
        plan_shapes([], BatchLayout(4))
