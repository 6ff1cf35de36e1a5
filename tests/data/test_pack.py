import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from easydel.data.pack import (
    Batch,
    Shape,
    pack,
    pad,
    sizes,
    stack,
)
from easydel.data.pair import Pair, RowNumbers
from easydel.errors import DataError
from oracles.pairs import pairs_of, some_pairs, trained_places, visible

pytestmark = pytest.mark.quick

LAYOUTS = st.sampled_from(["packed", "packed_unshared", "padded", "padded_unshared"])


def lay_out(pairs: list[Pair], layout: str, shards: int, pad_pairs_to: int | None = None) -> Batch:
    make = pack if layout.startswith("packed") else pad
    shared = not layout.endswith("unshared")
    return make(pairs, shards=shards, share_prompt=shared, pad_pairs_to=pad_pairs_to)


def context_and_completion(pair: Pair, side: int) -> tuple[list[int], list[int]]:
    ids, own = ((pair.chosen, pair.chosen_context), (pair.rejected, pair.rejected_context))[side]
    return pair.prompt + ids[:own], ids[own:]


def what_each_slot_sees(batch: Batch) -> dict[int, list[tuple[list[int], list[int], int]]]:
    """sequence -> (the tokens the predecessor sees, their positions, the target) of its slots, in slot order."""
    shards = len(batch.source)
    rows, length = batch.tokens.shape
    sees = [visible(segment, branch) for segment, branch in zip(batch.segment, batch.branch, strict=True)]
    found: dict[int, list[tuple[list[int], list[int], int]]] = {}
    for shard in range(shards):
        for source, target, sequence in zip(
            batch.source[shard], batch.target[shard], batch.sequence[shard], strict=True
        ):
            if sequence == 2 * len(batch.index):
                continue
            row, place = divmod(int(source), length)
            row += shard * (rows // shards)
            seen = sees[row][place]
            entry = (batch.tokens[row][seen].tolist(), batch.position[row][seen].tolist(), int(target))
            found.setdefault(int(sequence), []).append(entry)
    return found


@given(pairs=some_pairs(), layout=LAYOUTS, shards=st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_every_token_that_bears_loss_is_predicted_once_from_exactly_what_precedes_it(pairs, layout, shards):
    """The oracle is the definition: token t of a side is predicted at a place that sees, in order and at positions
    0, 1, ..., the context of that side and its completion before t, and nothing else. Tokens without loss are seen."""
    found = what_each_slot_sees(lay_out(pairs, layout, shards))
    assert set(found) == {2 * number + side for number in range(len(pairs)) for side in (0, 1)}
    for number, pair in enumerate(pairs):
        for side in (0, 1):
            context, completion = context_and_completion(pair, side)
            expected = []
            for place in trained_places(pair, side):
                at = place - (len(context) if not pair.prompt else 0)
                seen = context + completion[:at]
                expected.append((seen, list(range(len(seen))), completion[at]))
            assert found[2 * number + side] == expected


@given(pairs=some_pairs(), layout=LAYOUTS, shards=st.integers(1, 4))
@settings(max_examples=40, deadline=None)
def test_every_token_is_stored_once_and_the_rest_is_padding(pairs, layout, shards):
    batch = lay_out(pairs, layout, shards)
    copies = 2 if layout.endswith("unshared") else 1
    stored = [token for pair in pairs for token in pair.prompt * copies + pair.chosen + pair.rejected]
    assert sorted(batch.tokens[batch.segment > 0].tolist()) == sorted(stored)
    for field in (batch.tokens, batch.branch, batch.position):
        assert not field[batch.segment == 0].any()


@given(pairs=some_pairs(), layout=LAYOUTS, shards=st.integers(1, 3), fillers=st.integers(0, 3))
@settings(max_examples=40, deadline=None)
def test_lengths_and_index_describe_the_pairs_in_order_and_then_fillers(pairs, layout, shards, fillers):
    batch = lay_out(pairs, layout, shards, pad_pairs_to=len(pairs) + fillers)
    counted = np.bincount(batch.sequence.ravel(), minlength=2 * len(batch.index) + 1)[:-1]
    assert batch.lengths.ravel().tolist() == counted.tolist()
    assert batch.index.tolist() == [pair.index for pair in pairs] + [-1] * fillers
    assert not batch.lengths[len(pairs) :].any()
    assert batch.weight.tolist() == [1.0] * len(pairs) + [0.0] * fillers
    floats = RowNumbers._fields
    assert all(field.dtype == (np.float32 if name in floats else np.int32) for name, field in batch._asdict().items())


@given(pairs=some_pairs(), layout=LAYOUTS, shards=st.integers(1, 3))
@settings(max_examples=40, deadline=None)
def test_the_slots_of_a_completion_are_numbered_from_its_first_token(pairs, layout, shards):
    batch = lay_out(pairs, layout, shards)
    for number, lengths in enumerate(batch.lengths.tolist()):
        for side, length in enumerate(lengths):
            assert sorted(batch.offset[batch.sequence == 2 * number + side].tolist()) == list(range(length))


@given(pairs=some_pairs(), shards=st.integers(1, 4))
@settings(max_examples=40, deadline=None)
def test_no_token_sees_another_pair_or_the_other_completion(pairs, shards):
    batch = pack(pairs, shards=shards)
    owner = {token: (number, side) for number, pair in enumerate(pairs)
             for side, ids in enumerate((pair.prompt, pair.chosen, pair.rejected)) for token in ids}  # fmt: skip
    for tokens, segment, branch in zip(batch.tokens, batch.segment, batch.branch, strict=True):
        for query, key in zip(*np.nonzero(visible(segment, branch)), strict=True):
            (pair, side), (seen_pair, seen_side) = owner[int(tokens[query])], owner[int(tokens[key])]
            assert seen_pair == pair
            assert seen_side in (0, side)


def test_a_pair_by_hand():
    """[1 2 | 3 4 | 5]: both completions start at position 2, and both first tokens are predicted at token 2."""
    batch = pack([Pair([1, 2], [3, 4], [5], index=7)], shape=Shape(rows=1, length=8, slots=4))
    assert batch.tokens.tolist() == [[1, 2, 3, 4, 5, 0, 0, 0]]
    assert batch.segment.tolist() == [[1, 1, 1, 1, 1, 0, 0, 0]]
    assert batch.branch.tolist() == [[0, 0, 1, 1, 2, 0, 0, 0]]
    assert batch.position.tolist() == [[0, 1, 2, 3, 2, 0, 0, 0]]
    assert batch.source.tolist() == [[1, 2, 1, 0]]
    assert batch.target.tolist() == [[3, 4, 5, 0]]
    assert batch.sequence.tolist() == [[0, 0, 1, 2]]
    assert batch.lengths.tolist() == [[2, 1]]
    assert batch.index.tolist() == [7]


def test_a_masked_pair_by_hand():
    """[1 2 | 3 4 5 | 6 7]: 4 and 6 bear no loss, so 5 is the second slot of chosen, predicted at 4 all the same."""
    pair = Pair([1, 2], [3, 4, 5], [6, 7], chosen_trained=[True, False, True], rejected_trained=[False, True])
    batch = pack([pair], shape=Shape(rows=1, length=8, slots=4))
    assert sizes([pair]).tolist() == [[7, 3]]
    assert batch.tokens.tolist() == [[1, 2, 3, 4, 5, 6, 7, 0]]
    assert batch.position.tolist() == [[0, 1, 2, 3, 4, 2, 3, 0]]
    assert batch.source.tolist() == [[1, 3, 5, 0]]
    assert batch.target.tolist() == [[3, 5, 7, 0]]
    assert batch.sequence.tolist() == [[0, 0, 1, 2]]
    assert batch.offset.tolist() == [[0, 1, 0, 0]]
    assert batch.lengths.tolist() == [[2, 1]]


def test_sources_count_from_the_start_of_their_shard():
    batch = pad(pairs_of((1, 1, 1), (1, 1, 1), (1, 1, 1), (1, 1, 1)), shards=2)
    assert batch.tokens.shape == (4, 8)
    assert batch.source[:, :4].tolist() == [[0, 0, 8, 8], [0, 0, 8, 8]]
    assert batch.sequence[:, :4].tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_padding_puts_one_pair_on_each_row_in_order():
    pairs = pairs_of((2, 3, 1), (1, 9, 2), (4, 1, 1))
    batch = pad(pairs)
    assert batch.tokens.shape == (3, 16)
    assert batch.tokens[:, 0].tolist() == [pair.prompt[0] for pair in pairs]


def test_packing_is_the_same_every_time():
    pairs = pairs_of((5, 9, 3), (1, 2, 2), (7, 1, 4), (2, 2, 2))
    for one, other in zip(pack(pairs, shards=2), pack(pairs, shards=2), strict=True):
        assert np.array_equal(one, other)


def test_stacked_micro_batches_keep_their_values():
    pairs = pairs_of((2, 3, 1), (1, 2, 2))
    shape = Shape(1, 8, 8)
    both = stack([pack(pairs[:1], shape=shape), pack(pairs[1:], shape=shape)])
    assert both.tokens.shape == (2, 1, 8)
    assert both.tokens[1].tolist() == pack(pairs[1:], shape=shape).tokens.tolist()


def test_a_micro_batch_may_hold_fillers_only():
    batch = pack([], shape=Shape(2, 8, 8), shards=2, pad_pairs_to=3)
    assert not batch.segment.any()
    assert (batch.sequence == 6).all()
    assert batch.index.tolist() == [-1, -1, -1]


def test_sizes_count_tokens_in_the_row_and_completion_slots():
    assert sizes([Pair([1, 2], [3, 4, 5], [6])]).tolist() == [[6, 4]]
    assert sizes([Pair([], [1, 2, 3], [4, 5], chosen_context=2, rejected_context=1)]).tolist() == [[5, 2]]


@pytest.mark.parametrize("shape", [Shape(1, 16, 64), Shape(2, 8, 64), Shape(2, 16, 8)])
def test_a_shape_that_is_too_small_is_an_error(shape):
    with pytest.raises(DataError, match=r"do not fit .* rows of"):
        pack(pairs_of((4, 4, 4), (4, 4, 4)), shape=shape)


def test_rows_must_divide_over_shards():
    with pytest.raises(DataError, match="3 rows cannot be split over 2 shards"):
        pack(pairs_of((1, 1, 1)), shape=Shape(3, 8, 8), shards=2)


def test_more_pairs_than_the_pairs_axis_holds_are_an_error():
    with pytest.raises(DataError, match="2 pairs do not fit a pairs axis of 1"):
        pack(pairs_of((1, 1, 1), (1, 1, 1)), pad_pairs_to=1)
