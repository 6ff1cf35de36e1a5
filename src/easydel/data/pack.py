"""Batches: fixed-shape numpy arrays in which a row holds whole pairs, `[prompt chosen rejected]`, in sequence.

The prompt of a pair is stored once. A token attends to the tokens at or before its place in the row that
belong to its own segment and are prompt (branch 0) or of its own branch, so the two completions never see
each other. A completion has a slot for each of its tokens that bear loss (all, unless `Pair.chosen_trained` or
`rejected_trained` says otherwise), so whatever is computed from slots knows of no other token.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from easydel.data.batch_layout import Shape, place, slots_needed
from easydel.data.pair import NEUTRAL, Pair, Side
from easydel.data.shapes import natural_shape, round_length, round_slots
from easydel.errors import DataError

__all__ = ["Batch", "Shape", "pack", "pad", "sizes", "stack"]


class Batch(NamedTuple):
    """One micro-batch of pairs, or several with a leading `micro` axis on every field (`stack`). int32, float32."""

    tokens: Int[np.ndarray, "*micro rows length"]  # 0 where padding
    segment: Int[np.ndarray, "*micro rows length"]  # 1.. which pair within the row, 0 = padding
    branch: Int[np.ndarray, "*micro rows length"]  # 0 prompt, 1 chosen, 2 rejected
    position: Int[np.ndarray, "*micro rows length"]  # the rejected completion restarts after the prompt
    source: Int[np.ndarray, "*micro shards slots"]  # flat index, within the shard's rows, of the predecessor
    target: Int[np.ndarray, "*micro shards slots"]  # the token predicted there
    sequence: Int[np.ndarray, "*micro shards slots"]  # 2 * pair + side; 2 * pairs for padding
    offset: Int[np.ndarray, "*micro shards slots"]  # how many slots of the same completion come before; 0 for padding
    lengths: Int[np.ndarray, "*micro pairs 2"]  # slots of chosen, rejected; 0 for a pair that pads
    # row number in the source; -1 for a pair that pads. (Hides tuple.index, which nobody needs on a batch.)
    index: Int[np.ndarray, "*micro pairs"]  # pyright: ignore[reportIncompatibleMethodOverride]
    weight: Float[np.ndarray, "*micro pairs"]  # of the pair's loss; 0 for a pair that pads
    # The other numbers of their rows, see `pair.RowNumbers`.
    margin: Float[np.ndarray, "*micro pairs"]
    preference: Float[np.ndarray, "*micro pairs"]
    score_gap: Float[np.ndarray, "*micro pairs"]


_PADDING = NEUTRAL._replace(weight=0.0)


class _Item(NamedTuple):
    """What is placed as one segment: a prompt and one or both completions of a pair."""

    pair: int
    prompt: list[int]
    sides: Mapping[int, Side]  # 0 chosen, 1 rejected


def sizes(pairs: Sequence[Pair]) -> Int[np.ndarray, "pairs 2"]:
    """Returns the tokens in the row and the completion slots of each pair `[pairs, 2]`, prompt shared.

    >>> sizes([Pair(prompt=[1, 2], chosen=[3, 4, 5], rejected=[6])]).tolist()
    [[6, 4]]
    """
    return _item_sizes(_items(pairs, share_prompt=True))


def pack(
    pairs: Sequence[Pair],
    *,
    shape: Shape | None = None,
    shards: int = 1,
    pad_pairs_to: int | None = None,
    share_prompt: bool = True,
) -> Batch:
    """Returns the pairs packed whole into rows, first-fit decreasing; `shape` None takes the cheapest one.

    Args:
        pairs: at most `pad_pairs_to` of them; pair number i of the batch is `pairs[i]`.
        shape: rows (a multiple of `shards`), row length, and completion slots of each shard.
        shards: how many equal groups of rows have their completion slots numbered on their own.
        pad_pairs_to: length of the pairs axis, filled with pairs of length 0 and index -1.
        share_prompt: False stores the prompt with each side as two independent segments. The log-probs are
            the same; it is the oracle of the tests.

    Raises:
        DataError: the pairs do not fit the shape, or there are more of them than `pad_pairs_to`.
    """
    items = _items(pairs, share_prompt)
    measured = _item_sizes(items)
    shape = shape or natural_shape(measured, shards=shards)
    if shape.rows % shards:
        raise DataError(f"{shape.rows} rows cannot be split over {shards} shards: rows must be a multiple of it.")
    placed = place(measured, shape.rows, shape.length, shards)
    if placed is None or slots_needed(placed, measured, shards) > shape.slots:
        raise DataError(
            f"{len(pairs)} pairs of {int(measured[:, 0].sum())} tokens, {int(measured[:, 1].sum())} of them in "
            f"completions, the longest {int(measured[:, 0].max())}, do not fit {shape.rows} rows of "
            f"{shape.length} tokens with {shape.slots} slots on each of {shards} shards. Choose the shape with "
            "shape_for()."
        )
    return _build(pairs, items, placed, shape, shards, pad_pairs_to)


def pad(
    pairs: Sequence[Pair],
    *,
    length: int | None = None,
    shards: int = 1,
    pad_pairs_to: int | None = None,
    share_prompt: bool = True,
) -> Batch:
    """Returns the pairs unpacked: one segment to a row, in order. What packing is tested against.

    `length` None takes the longest; the number of rows is rounded up to a multiple of `shards`.

    Raises:
        DataError: a pair is longer than `length`, or there are more pairs than `pad_pairs_to`.
    """
    items = _items(pairs, share_prompt)
    measured = _item_sizes(items)
    rows = math.ceil(len(items) / shards) * shards
    length = length or round_length(int(measured[:, 0].max()))
    if measured[:, 0].max() > length:
        raise DataError(f"a pair of {int(measured[:, 0].max())} tokens does not fit a row of {length}.")
    placed = [[item] if item < len(items) else [] for item in range(rows)]
    slots = round_slots(slots_needed(placed, measured, shards))
    return _build(pairs, items, placed, Shape(rows, length, slots), shards, pad_pairs_to)


def stack(batches: Sequence[Batch]) -> Batch:
    """Returns micro-batches of one shape as a single batch with a leading `micro` axis."""
    return Batch(*(np.stack(field) for field in zip(*batches, strict=True)))


def _items(pairs: Sequence[Pair], share_prompt: bool) -> list[_Item]:
    items = []
    for number, pair in enumerate(pairs):
        sides = dict(enumerate(pair.sides))
        groups = [sides] if share_prompt else [{at: side} for at, side in sides.items()]
        items += [_Item(number, pair.prompt, group) for group in groups]
    return items


def _item_sizes(items: Sequence[_Item]) -> Int[np.ndarray, "items 2"]:
    measured = [
        (len(item.prompt) + sum(len(side.ids) for side in sides), sum(side.slots for side in sides))
        for item in items
        for sides in [item.sides.values()]
    ]
    return np.array(measured, np.int64).reshape(-1, 2)


def _build(
    pairs: Sequence[Pair],
    items: Sequence[_Item],
    placed: list[list[int]],
    shape: Shape,
    shards: int,
    pad_pairs_to: int | None,
) -> Batch:
    count = len(pairs) if pad_pairs_to is None else pad_pairs_to
    if len(pairs) > count:
        raise DataError(f"{len(pairs)} pairs do not fit a pairs axis of {count}.")
    tokens, segment, branch, position = (np.zeros((shape.rows, shape.length), np.int32) for _ in range(4))
    source, target, offset = (np.zeros((shards, shape.slots), np.int32) for _ in range(3))
    sequence = np.full((shards, shape.slots), 2 * count, np.int32)
    lengths = np.zeros((count, 2), np.int32)
    used = [0] * shards
    for row, members in enumerate(placed):
        shard, local = divmod(row, shape.rows // shards)
        end = 0
        for number, member in enumerate(members, start=1):
            start, end = end, end + len(items[member].prompt)
            last_prompt, prompt = end - 1, items[member].prompt
            tokens[row, start:end] = prompt
            position[row, start:end] = np.arange(len(prompt))
            for at, side in items[member].sides.items():
                ids, places = np.array(side.ids, np.int32), side.places
                begin, end = end, end + len(ids)
                tokens[row, begin:end] = ids
                branch[row, begin:end] = at + 1
                position[row, begin:end] = len(prompt) + np.arange(len(ids))
                predecessor = np.arange(begin - 1, end - 1)
                predecessor[0] = last_prompt  # never seen where the side has context of its own
                slots = slice(used[shard], used[shard] + len(places))
                source[shard, slots] = local * shape.length + predecessor[places]
                target[shard, slots] = ids[places]
                sequence[shard, slots] = 2 * items[member].pair + at
                offset[shard, slots] = np.arange(len(places))
                lengths[items[member].pair, at] = len(places)
                used[shard] = slots.stop
            segment[row, start:end] = number
    index = np.full(count, -1, np.int32)
    index[: len(pairs)] = [pair.index for pair in pairs]
    numbers = np.array([pair.numbers for pair in pairs] + [_PADDING] * (count - len(pairs)), np.float32)
    return Batch(tokens, segment, branch, position, source, target, sequence, offset, lengths, index, *numbers.T.copy())
