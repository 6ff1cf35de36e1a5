from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from easydel.data.batch_layout import MAX_SHAPES, BatchLayout
from easydel.data.loader import START, Position, make_loader
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
        BatchLayout(micro * per_micro, micro, row_shards=shards),
        shuffle=shuffle,
    )
    batches = [batch for _, batch in loader.batches()]
    assert len(batches) == loader.steps_per_epoch == -(-count // (micro * per_micro))
    assert all(batch.index.shape == (micro, per_micro) for batch in batches)
    assert sorted(row for batch in batches for row in rows_of(batch)) == list(range(count))


@given(seed=st.integers(0, 9), epoch=st.integers(0, 2), at=st.integers(0, 5), micro=st.sampled_from([1, 2]))
@settings(max_examples=20, deadline=None)
def test_continuing_from_any_position_gives_the_batches_of_a_straight_run(seed, epoch, at, micro):
    def fresh():
        return make_loader(random_pairs(21), BatchLayout(4, micro), seed=seed)

    straight = list(fresh().batches(epochs=3))
    done = min(epoch * 6 + at, 18)
    position = straight[done - 1][0] if done else START
    rest = list(fresh().batches(position, epochs=3))
    assert len(rest) == 18 - done
    for (after, batch), (expected_after, expected) in zip(rest, straight[done:], strict=True):
        assert after == expected_after
        assert same(batch, expected)


def test_positions_count_batches_and_start_an_epoch_after_the_last():
    loader = make_loader(random_pairs(5), BatchLayout(2))
    assert [after for after, _ in loader.batches(epochs=2)] == [(0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (2, 0)]
    assert list(loader.batches(Position(2, 0), epochs=2)) == []
    assert [after for after, _ in islice(loader.batches(Position(7, 2), epochs=None), 3)] == [(8, 0), (8, 1), (8, 2)]


def test_the_order_depends_on_seed_and_epoch_only():
    pairs = random_pairs(50)
    one, same_seed = (make_loader(pairs, BatchLayout(size), seed=3) for size in (5, 10))
    other = make_loader(pairs, BatchLayout(5), seed=4)
    assert one.order(1).tolist() == same_seed.order(1).tolist()
    assert one.order(0).tolist() != one.order(1).tolist()
    assert one.order(0).tolist() != other.order(0).tolist()


def test_without_shuffling_every_epoch_keeps_the_order_of_the_data():
    loader = make_loader(random_pairs(7), BatchLayout(3), shuffle=False)
    for _ in range(2):
        assert [rows_of(batch) for _, batch in loader.batches()] == [[0, 1, 2], [3, 4, 5], [6]]


def test_the_last_smaller_batch_is_padded_with_pairs_of_no_length():
    loader = make_loader(random_pairs(5), BatchLayout(4), shuffle=False)
    last = loader.batch(Position(0, 1))
    assert last.index.tolist() == [[4, -1, -1, -1]]
    assert not last.lengths[0, 1:].any()


def test_a_micro_batch_of_the_last_batch_may_hold_no_pair():
    loader = make_loader(random_pairs(5), BatchLayout(4, 4), shuffle=False)
    assert loader.batch(Position(0, 1)).index.tolist() == [[4], [-1], [-1], [-1]]


def test_accumulation_does_not_change_which_pairs_a_step_sees():
    pairs = random_pairs(16)
    whole = make_loader(pairs, BatchLayout(8), seed=1)
    split = make_loader(pairs, BatchLayout(8, 4), seed=1)
    for (_, one), (_, other) in zip(whole.batches(), split.batches(), strict=True):
        assert rows_of(one) == rows_of(other)
        assert one.lengths.sum() == other.lengths.sum()


def test_a_run_uses_few_shapes():
    loader = make_loader(random_pairs(400), BatchLayout(8))
    shapes = {batch.tokens.shape + batch.source.shape for _, batch in loader.batches(epochs=3)}
    assert len(shapes) <= MAX_SHAPES


def test_a_seed_below_0_is_an_error():
    with pytest.raises(ConfigError, match="seed is -1"):
        make_loader(pairs_of((1, 1, 1)), BatchLayout(4), seed=-1)


def test_no_pairs_and_a_position_outside_the_epoch_are_errors():
    with pytest.raises(DataError, match="no pairs"):
        make_loader([], BatchLayout(4))
    with pytest.raises(DataError, match="position 9 is outside an epoch of 1 batches"):
        next(make_loader(pairs_of((1, 1, 1)), BatchLayout(4)).batches(Position(0, 9)))
