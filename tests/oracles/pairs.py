"""Random pairs, and what the fields of a batch mean, said once more and slowly."""

import itertools

import numpy as np
from hypothesis import strategies as st

from easydel.data.pair import Pair


@st.composite
def some_pairs(draw, most: int = 9, longest: int = 14) -> list[Pair]:
    """Pairs of random lengths whose tokens are all different, so that each can be recognised in a batch."""
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
        pairs.append(Pair(prompt, chosen, rejected, *contexts, index=100 + index))
    return pairs


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
