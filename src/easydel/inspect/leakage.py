"""Prompts of eval sets and benchmarks that are found among the training pairs.

A prompt is found as it is, normalized, or by half of its 8-grams, as open-instruct decontaminates (Lambert et al.,
Tulu 3, 2024); by all of them where it is short, as one word is all that two short prompts of a template differ in.
8-grams that many of the eval prompts have tell nothing and are left out.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Int, UInt64

from easydel.inspect.findings import Finding, in_rows
from easydel.inspect.hashes import shingles, text_hash
from easydel.inspect.texts import TextPair, normalized, words_of

if TYPE_CHECKING:
    from easydel.inspect.facts import Facts

WORDS, SHARE = 8, 0.5
_SHORT = 9  # 8-grams, of which a prompt of 16 words has as many
KINDS = ("as it is", "but for case and white space", "by 8-grams")
_COMMON, _COMMON_SHARE = 5, 0.01  # eval prompt that may share a run


class Leak(NamedTuple):
    """A training pair, by its place, that asks what row `row` of a set asks, and how that was found (`KINDS`)."""

    place: int
    row: int
    kind: int


@dataclass
class EvalPrompts:
    """The prompts of an eval set or a benchmark, and the training pairs that ask them too."""

    name: str
    count: int = 0
    leaks: list[Leak] = field(default_factory=list)
    _exact: dict[int, int] = field(default_factory=dict)
    _normal: dict[int, int] = field(default_factory=dict)
    _grams: list[UInt64[np.ndarray, "grams"]] = field(default_factory=list)
    _owners: list[int] = field(default_factory=list)

    def hold(self, row: int, prompt: str) -> None:
        """Adds the prompt of one more row."""
        self.count += 1
        self._exact.setdefault(text_hash(prompt), row)
        self._normal.setdefault(text_hash(normalized(prompt)), row)
        words = words_of(prompt)
        if len(words) >= WORDS:
            self._grams.append(np.unique(shingles(words, WORDS)))
            self._owners.append(row)

    def look(self, place: int, pair: TextPair) -> None:
        """Looks whether a training pair asks one of the prompts."""
        found = self._found(pair)
        if found is not None:
            self.leaks.append(Leak(place, *found))

    def _found(self, pair: TextPair) -> tuple[int, int] | None:
        texts = dict.fromkeys((pair.asked, pair.first))
        for kind, known, form in ((0, self._exact, str), (1, self._normal, normalized)):
            for text in texts:
                if (row := known.get(text_hash(form(text)))) is not None:
                    return row, kind
        words = words_of(pair.asked) if self._grams else ()
        row = self._by_grams(words) if len(words) >= WORDS else None
        return None if row is None else (row, 2)

    @cached_property
    def _table(self) -> tuple[UInt64[np.ndarray, "grams"], Int[np.ndarray, "grams"], Int[np.ndarray, "prompts"]]:
        """The 8-grams that tell something, sorted, the prompt of each, and how many each prompt has."""
        grams = np.concatenate(self._grams)
        owners = np.repeat(np.arange(len(self._grams)), [len(each) for each in self._grams])
        order = np.argsort(grams, kind="stable")
        grams, owners = grams[order], owners[order]
        times = np.searchsorted(grams, grams, "right") - np.searchsorted(grams, grams, "left")
        tells = times <= max(_COMMON, _COMMON_SHARE * len(self._grams))
        return grams[tells], owners[tells], np.bincount(owners[tells], minlength=len(self._grams))

    def _by_grams(self, words: Sequence[str]) -> int | None:
        grams, owners, totals = self._table
        mine = np.unique(shingles(words, WORDS))
        first, last = np.searchsorted(grams, mine, "left"), np.searchsorted(grams, mine, "right")
        hit = np.flatnonzero(last > first)
        if not len(hit):
            return None
        met = np.concatenate([owners[first[at] : last[at]] for at in hit])
        found, times = np.unique(met, return_counts=True)
        shares = times / totals[found]
        shares = np.where(shares >= np.where(totals[found] >= _SHORT, SHARE, 1.0), shares, 0.0)
        best = int(np.argmax(shares))
        return self._owners[found[best]] if shares[best] else None


def leakage(facts: "Facts") -> Iterator[Finding]:
    """Yields, for each eval set and benchmark, the training rows that ask its prompts."""
    for each in facts.eval_prompts:
        if not each.leaks:
            continue
        faults = {
            int(facts.numbers[leak.place]): f"asks what row {leak.row} of {each.name} asks, {KINDS[leak.kind]}"
            for leak in each.leaks
        }
        kinds = [sum(leak.kind == kind for leak in each.leaks) for kind in range(len(KINDS))]
        prompts = len({leak.row for leak in each.leaks})
        yield Finding(
            "leakage",
            "error",
            f"{prompts:,} of the {each.count:,} prompts of {each.name}, in {in_rows(len(faults))}: "
            + ", ".join(f"{count:,} {kind}" for count, kind in zip(kinds, KINDS, strict=True) if count),
            {
                "set": each.name,
                "rows": len(faults),
                "prompts": prompts,
                "of": each.count,
                "by_kind": kinds,
            },
            faults,
        )
