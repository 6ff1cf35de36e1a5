"""Random pairs, and what the fields of a batch mean, said once more and slowly."""

import itertools

import numpy as np
from hypothesis import strategies as st

from easydel.data.pair import Pair


@st.composite
def some_pairs(draw, most: int = 9, longest: int = 14) -> list[Pair]:
    """Pairs of random lengths whose tokens are all different, so that each can be recognized in a batch.

    Of some sides a part of the completion bears no loss.
    """
    count = draw(st.integers(1, most))
    lengths = st.integers(1, longest)
    fresh = itertools.count(1)

    def ids(length: int) -> list[int]:
        return [next(fresh) for _ in range(length)]

    pairs = []
    for index in range(count):
        own_context = draw(st.booleans())
        contexts = (draw(lengths), draw(lengths)) if own_context else (0, 0)
        prompt = [] if own_context else ids(draw(lengths))
        chosen, rejected = (ids(context + draw(lengths)) for context in contexts)
        masks = [draw(masks_of(len(side) - own, own)) for side, own in zip((chosen, rejected), contexts, strict=True)]
        pair = Pair(prompt, chosen, rejected, *contexts, index=100 + index)
        pairs.append(pair._replace(chosen_trained=masks[0], rejected_trained=masks[1]))
    return pairs


@st.composite
def masks_of(draw, length: int, context: int = 0) -> list[bool] | None:
    """None, or which tokens of a completion of this length, behind its own context, bear loss: one at least."""
    if not draw(st.booleans()):
        return None
    mask = draw(st.lists(st.booleans(), min_size=length, max_size=length))
    mask[draw(st.integers(0, length - 1))] = True
    return [False] * context + mask


def trained_places(pair: Pair, side: int) -> list[int]:
    """Where in a side the tokens are that bear loss."""
    ids, context, mask = (
        (pair.chosen, pair.chosen_context, pair.chosen_trained),
        (pair.rejected, pair.rejected_context, pair.rejected_trained),
    )[side]
    return [at for at in range(context, len(ids)) if mask is None or mask[at]]


def pairs_of(*lengths: tuple[int, int, int]) -> list[Pair]:
    """Pairs of the given (prompt, chosen, rejected) lengths, all tokens different."""
    fresh = itertools.count(1)
    sides = [[[next(fresh) for _ in range(length)] for length in pair] for pair in lengths]
    return [Pair(*ids, index=index) for index, ids in enumerate(sides)]


def random_pairs(count: int, seed: int = 0, longest: int = 120) -> list[Pair]:
    """Many pairs of skewed lengths, as real ones are."""
    lengths = np.random.default_rng(seed).gamma(2.0, longest / 8, (count, 3)).astype(int).clip(1, longest)
    return pairs_of(*map(tuple, lengths.tolist()))


def visible(segment: np.ndarray, branch: np.ndarray) -> np.ndarray:
    """Which place (second axis) of one row sees which (third)."""
    length = len(segment)
    sees = np.zeros((length, length), bool)
    for query in range(length):
        for key in range(query + 1):
            same_pair = segment[query] == segment[key] != 0
            sees[query, key] = same_pair and branch[key] in (0, branch[query])
    return sees
