"""Rows that say nearly the same: MinHash over 3-grams of words, by datasketch, an extra.

Broder, On the resemblance and containment of documents (1997). Each row becomes the smallest values of 128 hash
functions over its shingles; the share of values that two rows have in common estimates what share of their shingles
is the same. Rows are compared that agree in one of 16 bands of 8 values.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Int, UInt

from easydel.inspect.findings import Finding, in_rows
from easydel.inspect.hashes import FACTORS, shingles
from easydel.inspect.texts import TextPair, words_of

if TYPE_CHECKING:
    from easydel.inspect.facts import Facts

VALUES, BANDS = 128, 16
_SHINGLE = 3  # words
_PROMPT_WORDS = 100  # at the end of a prompt: what is asked, without a long document in front of it
_MIN_WORDS = 12  # of a row; shorter ones are alike by chance


class Signatures:
    """The MinHash of each row.

    Raises:
        ImportError: datasketch is not installed.
    """

    def __init__(self) -> None:
        from datasketch import MinHash  # pyright: ignore[reportMissingImports]  # an extra

        self._empty: Any = MinHash(num_perm=VALUES, seed=1, hashfunc=int)
        self._kept = bytearray()

    def add(self, pair: TextPair) -> None:
        """Keeps the signature of one more row, zeros for one that is too short."""
        parts = [words_of(pair.asked)[-_PROMPT_WORDS:], words_of(pair.chosen), words_of(pair.rejected)]
        if sum(map(len, parts)) < _MIN_WORDS:
            self._kept += bytes(4 * VALUES)
            return
        runs = np.concatenate([shingles(words, _SHINGLE, tag) for tag, words in enumerate(parts)])
        made = self._empty.copy()
        made.update_batch((runs >> np.uint64(32)).tolist())
        self._kept += np.asarray(made.hashvalues).astype(np.uint32).tobytes()

    def values(self) -> UInt[np.ndarray, "pairs values"]:
        """Returns the signatures of all rows."""
        return np.frombuffer(bytes(self._kept), np.uint32).reshape(-1, VALUES)


def near_duplicates(facts: "Facts", similarity: float) -> Iterator[Finding]:
    """Yields the rows of which `similarity` of the shingles, or more, are those of an earlier row."""
    if facts.signatures is None:
        return
    of: dict[int, tuple[int, float]] = {}
    same = _pair_ids(facts)
    for earlier, later in _candidates(facts.signatures):
        share = float(np.mean(facts.signatures[earlier] == facts.signatures[later]))
        if share >= similarity and same[earlier] != same[later] and share > of.get(later, (0, 0.0))[1]:
            of[later] = earlier, share
    if of:
        faults = {
            int(
                facts.numbers[later]
            ): f"says nearly the same as row {facts.numbers[earlier]} ({share:.0%} of its 3-grams)"
            for later, (earlier, share) in of.items()
        }
        yield Finding(
            "near_duplicates",
            "warning",
            f"nearly the same as an earlier row ({similarity:.0%} or more of the 3-grams): {in_rows(len(faults))}",
            {"rows": len(faults), "similarity": similarity},
            faults,
        )


def _pair_ids(facts: "Facts") -> Int[np.ndarray, "pairs"]:
    together = np.stack([facts.prompts, facts.chosen, facts.rejected], axis=1)
    return np.unique(together, axis=0, return_inverse=True)[1].reshape(-1)


def _candidates(signatures: UInt[np.ndarray, "pairs values"]) -> Iterator[tuple[int, int]]:
    """Yields places of rows, the earlier one first, that agree in a band: each with the first such row of the band."""
    seen: set[tuple[int, int]] = set()
    width = VALUES // BANDS
    told = set(np.flatnonzero(signatures.max(axis=1, initial=0)).tolist())
    for first in range(0, VALUES, width):
        band = signatures[:, first : first + width].astype(np.uint64) @ FACTORS[:width]  # equal bands, equal numbers
        order = np.argsort(band, kind="stable")
        starts = set((np.flatnonzero(np.diff(band[order])) + 1).tolist())
        start = 0
        for at in range(1, len(order)):
            if at in starts:
                start = at
                continue
            pair = int(order[start]), int(order[at])
            if pair[0] in told and pair not in seen:
                seen.add(pair)
                yield pair
