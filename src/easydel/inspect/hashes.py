"""Texts as numbers that stand for them: all that is kept of a row, so that memory does not grow with its length."""

from collections.abc import Sequence
from hashlib import blake2b
from zlib import crc32

import numpy as np
from jaxtyping import UInt64

_KEPT_CODES = 100_000
_MIX = np.uint64(0x9E3779B97F4A7C15)
FACTORS: UInt64[np.ndarray, "16"] = np.random.Generator(np.random.Philox(17)).integers(
    1, 2**63, 16, dtype=np.uint64
) | np.uint64(1)
"""Odd numbers, by which products modulo 2^64 can be undone."""


def text_hash(text: str) -> int:
    """Returns 64 bits that stand for a text, the same in every process."""
    return int.from_bytes(blake2b(text.encode("utf-8", "backslashreplace"), digest_size=8).digest(), "little")


def shingles(words: Sequence[str], size: int, tag: int = 0) -> UInt64[np.ndarray, "shingles"]:
    """Returns 64 bits for each n-gram of `size` words, in order; a shorter text is one.

    Args:
        tag: tells equal n-grams of different parts of a row apart.

    >>> len(shingles("a b c a b c".split(), 3)), len(shingles(["a"], 3)), len(shingles([], 3))
    (4, 1, 0)
    """
    if not words:
        return np.empty(0, np.uint64)
    codes = np.fromiter(map(_codes.__getitem__, words), np.uint64, len(words))
    size = min(size, len(codes))
    runs = len(codes) - size + 1
    mixed = np.full(runs, tag + 1, np.uint64) * FACTORS[-1]
    for at in range(size):
        mixed = (mixed ^ codes[at : at + runs]) * FACTORS[at]
        mixed ^= mixed >> np.uint64(29)
    mixed *= _MIX
    return mixed ^ (mixed >> np.uint64(32))


class _Codes(dict[str, int]):
    """The numbers of words; those of the first ones met are kept, as most words of a text are the same few."""

    def __missing__(self, word: str) -> int:
        code = crc32(word.encode("utf-8", "backslashreplace"))
        if len(self) < _KEPT_CODES:
            self[word] = code
        return code


_codes = _Codes()
