import threading
from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from easydel.data.loader import START, Position, make_loader, prefetch, split_evenly
from easydel.data.pack import Batch
from easydel.errors import ConfigError, DataError
from oracles.pairs import pairs_of, random_pairs


def same(one: Batch, other: Batch) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def rows_of(batch: Batch) -> list[int]:
    return sorted(batch.index[batch.index >= 0].tolist())


@given(
    count=st.integers(1, 23),
    micro=st.integers(1, 3),
    per_micro=st.integers(1, 4),
    shuffle=st.booleans(),
    shards=st.integers(1, 3),
)
@settings(max_examples=30, deadline=None)
def test_an_epoch_holds_every_pair_once(count, micro, per_micro, shuffle, shards):
    loader = make_loader(
        random_pairs(count),
        total_batch_size=micro * per_micro,
        gradient_accumulation_steps=micro,
        shuffle=shuffle,
        shards=shards,
    )
    batches = [batch for _, batch in loader.batches()]
    assert len(batches) == loader.steps_per_epoch == -(-count // (micro * per_micro))
    assert all(batch.index.shape == (micro, per_micro) for batch in batches)
    assert sorted(row for batch in batches for row in rows_of(batch)) == list(range(count))


@given(seed=st.integers(0, 9), epoch=st.integers(0, 2), at=st.integers(0, 5), micro=st.sampled_from([1, 2]))
@settings(max_examples=20, deadline=None)
def test_continuing_from_any_position_gives_the_batches_of_a_straight_run(seed, epoch, at, micro):
    def fresh():
        return make_loader(random_pairs(21), total_batch_size=4, gradient_accumulation_steps=micro, seed=seed)

    straight = list(fresh().batches(epochs=3))
    done = min(epoch * 6 + at, 18)
    position = straight[done - 1][0] if done else START
    rest = list(fresh().batches(position, epochs=3))
    assert len(rest) == 18 - done
    for (after, batch), (expected_after, expected) in zip(rest, straight[done:], strict=True):
        assert after == expected_after
        assert same(batch, expected)


def test_positions_count_batches_and_start_an_epoch_after_the_last():
    loader = make_loader(random_pairs(5), total_batch_size=2)
    assert [after for after, _ in loader.batches(epochs=2)] == [(0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (2, 0)]
    assert list(loader.batches(Position(2, 0), epochs=2)) == []
    assert [after for after, _ in islice(loader.batches(Position(7, 2), epochs=None), 3)] == [(8, 0), (8, 1), (8, 2)]


def test_the_order_depends_on_seed_and_epoch_only():
    pairs = random_pairs(50)
    one, same_seed = (make_loader(pairs, total_batch_size=size, seed=3) for size in (5, 10))
    other = make_loader(pairs, total_batch_size=5, seed=4)
    assert one.order(1).tolist() == same_seed.order(1).tolist()
    assert one.order(0).tolist() != one.order(1).tolist()
    assert one.order(0).tolist() != other.order(0).tolist()


def test_without_shuffling_every_epoch_keeps_the_order_of_the_data():
    loader = make_loader(random_pairs(7), total_batch_size=3, shuffle=False)
    for _ in range(2):
        assert [rows_of(batch) for _, batch in loader.batches()] == [[0, 1, 2], [3, 4, 5], [6]]


def test_the_last_smaller_batch_is_filled_with_pairs_of_no_length():
    loader = make_loader(random_pairs(5), total_batch_size=4, shuffle=False)
    last = loader.batch(Position(0, 1))
    assert last.index.tolist() == [[4, -1, -1, -1]]
    assert not last.lengths[0, 1:].any()


def test_a_micro_batch_of_the_last_batch_may_be_all_filler():
    loader = make_loader(random_pairs(5), total_batch_size=4, gradient_accumulation_steps=4, shuffle=False)
    assert loader.batch(Position(0, 1)).index.tolist() == [[4], [-1], [-1], [-1]]


def test_accumulation_does_not_change_which_pairs_a_step_sees():
    pairs = random_pairs(16)
    whole = make_loader(pairs, total_batch_size=8, seed=1)
    split = make_loader(pairs, total_batch_size=8, seed=1, gradient_accumulation_steps=4)
    for (_, one), (_, other) in zip(whole.batches(), split.batches(), strict=True):
        assert rows_of(one) == rows_of(other)
        assert one.lengths.sum() == other.lengths.sum()


def test_micro_batches_have_equal_numbers_of_pairs_and_nearly_equal_tokens():
    """Longest first to the lighter group: 8 + 2 + 1 and 6 + 2 + 1 tokens, each in the order of the data."""
    tokens = np.array([1, 8, 2, 6, 1, 2])
    groups = split_evenly(np.arange(6), tokens, 2)
    assert groups == [[1, 4, 5], [0, 2, 3]]


@given(count=st.integers(0, 12), groups=st.integers(1, 4))
def test_splitting_loses_no_member(count, groups):
    members = np.random.default_rng(count).permutation(20)[:count]
    split = split_evenly(members, np.arange(20), groups)
    assert sorted(member for group in split for member in group) == sorted(members.tolist())
    assert max(map(len, split)) - min(map(len, split)) <= 1


def test_a_run_uses_few_shapes():
    loader = make_loader(random_pairs(400), total_batch_size=8)
    shapes = {batch.tokens.shape + batch.source.shape for _, batch in loader.batches(epochs=3)}
    assert len(shapes) <= 6


def test_prefetching_gives_the_same_items_and_ends_its_thread():
    before = threading.active_count()
    loader = make_loader(random_pairs(20), total_batch_size=4)
    with prefetch(loader.batches()) as ahead:
        found = list(ahead)
    assert [after for after, _ in found] == [after for after, _ in loader.batches()]
    assert threading.active_count() == before


def test_leaving_a_prefetch_early_ends_its_thread_and_the_making_of_items():
    before, made = threading.active_count(), []

    def endless():
        while True:
            made.append(len(made))
            yield made[-1]

    with prefetch(endless(), depth=3) as ahead:
        assert next(ahead) == 0
    assert threading.active_count() == before
    assert len(made) <= 4


def test_a_generator_is_closed_with_its_prefetch():
    closed = []

    def holding():
        try:
            yield from range(100)
        finally:
            closed.append(threading.current_thread())

    with prefetch(holding()) as ahead:
        next(ahead)
    assert closed == [threading.current_thread()]


def test_an_exception_while_making_items_is_raised_in_its_place():
    def failing():
        yield 1
        yield 2
        raise DataError("row 3 is broken")

    with prefetch(failing()) as ahead:
        assert [next(ahead), next(ahead)] == [1, 2]
        with pytest.raises(DataError, match="row 3 is broken"):
            next(ahead)


def test_an_exception_in_the_body_ends_the_thread():
    before = threading.active_count()
    with pytest.raises(KeyError), prefetch(iter(range(100))):
        raise KeyError
    assert threading.active_count() == before


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"total_batch_size": 0}, "total_batch_size is 0"),
        ({"total_batch_size": 4, "gradient_accumulation_steps": 3}, "4 is not a multiple of .* 3"),
        ({"total_batch_size": 4, "max_shapes": 0}, "max_shapes is 0"),
        ({"total_batch_size": 4, "seed": -1}, "seed is -1"),
    ],
)
def test_settings_that_cannot_work_are_errors(settings, message):
    with pytest.raises(ConfigError, match=message):
        make_loader(pairs_of((1, 1, 1)), **settings)


def test_no_pairs_and_a_position_outside_the_epoch_are_errors():
    with pytest.raises(DataError, match="no pairs"):
        make_loader([], total_batch_size=4)
    with pytest.raises(DataError, match="position 9 is outside an epoch of 1 batches"):
        next(make_loader(pairs_of((1, 1, 1)), total_batch_size=4).batches(Position(0, 9)))
