import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from easydel.data.batch_layout import BatchLayout, Shape, deal, fits, place, rows_needed, slots_needed
from easydel.errors import ConfigError


def test_micro_batches_have_equal_numbers_of_pairs_and_nearly_equal_tokens():
    """Longest first to the lighter group: 8 + 2 + 1 and 6 + 2 + 1 tokens, each in the order of the data."""
    sizes = np.array([[1, 8, 2, 6, 1, 2]] * 2).T
    assert BatchLayout(6, 2).micro_batches(sizes) == [[1, 4, 5], [0, 2, 3]]


@given(tokens=st.lists(st.integers(1, 20), max_size=12), groups=st.integers(1, 4))
def test_splitting_loses_no_pair(tokens, groups):
    split = deal(np.array(tokens, np.int64), groups)
    assert sorted(pair for group in split for pair in group) == list(range(len(tokens)))
    assert max(map(len, split)) - min(map(len, split)) <= 1


@given(pairs=st.integers(1, 23), micro=st.integers(1, 3), per_micro=st.integers(1, 4))
def test_the_sizes_of_a_step_are_those_of_its_micro_batches_and_the_last_step_may_be_smaller(pairs, micro, per_micro):
    layout, sizes = BatchLayout(micro * per_micro, micro), np.arange(2 * pairs).reshape(pairs, 2)
    steps = list(layout.steps(sizes))
    assert len(steps) == layout.steps_for(pairs)
    assert all(len(step) == micro for step in steps)
    assert all(len(part) <= layout.micro_batch_size == per_micro for step in steps for part in step)
    found = [sorted(np.concatenate(step).tolist()) for step in steps]
    assert found == [
        sizes[first : first + layout.total_batch_size].tolist() for first in range(0, pairs, micro * per_micro)
    ]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"total_batch_size": 0}, "total_batch_size is 0"),
        ({"total_batch_size": 4, "gradient_accumulation_steps": 0}, "gradient_accumulation_steps is 0"),
        ({"total_batch_size": 4, "gradient_accumulation_steps": 3}, "4 is not a multiple of .* 3"),
        ({"total_batch_size": 4, "max_shapes": 0}, "max_shapes is 0"),
    ],
)
def test_sizes_that_no_batch_can_have_are_errors(settings, message):
    with pytest.raises(ConfigError, match=message):
        BatchLayout(**settings)


SIZES = st.lists(st.tuples(st.integers(3, 60), st.integers(2, 40)), min_size=1, max_size=10).map(np.array)


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


@given(sizes=SIZES, rows=st.integers(1, 6), slots=st.integers(1, 200), shards=st.sampled_from([1, 2]))
@settings(max_examples=60, deadline=None)
def test_a_micro_batch_fits_where_it_can_be_placed_and_every_shard_has_the_slots(sizes, rows, slots, shards):
    placed = place(sizes, shards * rows, 90, shards)
    expected = placed is not None and slots_needed(placed, sizes, shards) <= slots
    assert fits(sizes, Shape(shards * rows, 90, slots), shards) == expected


@given(tokens=st.lists(st.integers(1, 60), min_size=1, max_size=10), length=st.integers(60, 150))
def test_the_rows_needed_are_the_fewest_in_which_the_pairs_are_placed(tokens, length):
    descending = np.array([[*sorted(tokens, reverse=True), 0, 0]])
    [rows] = rows_needed(descending, length).tolist()
    sizes = np.array([(count, 1) for count in tokens])
    assert place(sizes, rows, length) is not None
    assert rows == 1 or place(sizes, rows - 1, length) is None
