"""What wins whatever it says: the longer completion, or the one with a list, markdown, a refusal, the prompt again.

A reward that follows one of these needs no understanding: length is the best known (Singhal et al., A long way to go,
2023; Park et al., Disentangling length from quality in DPO, 2024).
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from easydel.inspect.facts import NONE, Facts
from easydel.inspect.findings import MAX_EXAMPLES, Finding, Level, in_rows
from easydel.inspect.marks import MARKS

ALL = ""
_FEWEST, _ERRORS = 30, 3.0  # pairs that tell something; standard errors from one half
_SUSPECT, _EFFECT = 0.6, 0.05  # share of these that win; share of all pairs that they are
_MAX_SOURCES = 20


class Shortcut(NamedTuple):
    """How often the completion that has something wins, of the pairs in which one has more of it than the other."""

    name: str  # length, or one of `MARKS`
    source: str  # "" for the whole dataset
    pairs: int
    differ: int
    wins: int
    effect: float | None = None  # Cohen's d of the lengths of chosen and rejected
    auc: float | None = None  # how often a chosen completion is longer than any rejected one

    @property
    def rate(self) -> float:
        """The share of the pairs that differ in which the longer, or marked, completion is chosen."""
        return self.wins / self.differ if self.differ else 0.5

    @property
    def stands_out(self) -> bool:
        """Whether it wins, or loses, clearly more often than chance would have it, in enough of the pairs to matter."""
        error = 0.5 / max(self.differ, 1) ** 0.5
        far = abs(self.rate - 0.5)
        enough = self.differ >= max(_FEWEST, _EFFECT * self.pairs)
        return enough and far >= _SUSPECT - 0.5 and far > _ERRORS * error

    def values(self) -> dict[str, Any]:
        """Returns it as `inspect.json` has it."""
        return self._asdict() | {"rate": round(self.rate, 4), "stands_out": self.stands_out}


class Threshold(NamedTuple):
    """Leaves out the pairs in which one side is longer by more than `characters`, so that both are, as often."""

    side: str  # chosen or rejected: which is the longer one too often
    characters: int
    left: int


def shortcuts_of(facts: Facts) -> list[Shortcut]:
    """Returns length and every mark, of the whole dataset and of each source."""
    everything = np.ones(len(facts.numbers), bool)
    parts = [(str(ALL), everything)]
    if len(facts.source_names) > 1:
        counts = np.bincount(facts.sources, minlength=len(facts.source_names))
        largest = np.argsort(-counts, kind="stable")[:_MAX_SOURCES]
        parts += [(str(facts.source_names[int(at)]) or NONE, facts.sources == at) for at in largest]
    return [each for source, members in parts for each in _of_part(facts, source, members)]


def _of_part(facts: Facts, source: str, members: Bool[np.ndarray, "pairs"]) -> Iterator[Shortcut]:
    lengths = facts.lengths[members]
    if not len(lengths):
        return
    gaps = lengths[:, 0] - lengths[:, 1]
    count, wins = len(lengths), int(np.count_nonzero(gaps > 0))
    differ = int(np.count_nonzero(gaps))
    yield Shortcut("length", source, count, differ, wins, cohens_d(lengths), auc(lengths[:, 0], lengths[:, 1]))
    marks = facts.marks[members]
    for at, name in enumerate(MARKS):
        chosen, rejected = (marks[:, side] >> at & 1 for side in (0, 1))
        yield Shortcut(name, source, count, int(np.sum(chosen != rejected)), int(np.sum(chosen > rejected)))


def cohens_d(lengths: Int[np.ndarray, "pairs 2"]) -> float:
    """Returns by how many standard deviations, pooled, chosen completions are longer (Cohen, 1988).

    >>> cohens_d(np.array([[3, 1], [5, 3]]))
    1.414
    """
    if len(lengths) < 2:
        return 0.0
    spread = float(np.sqrt(lengths.var(axis=0, ddof=1).mean()))
    return round(float(np.diff(lengths.mean(axis=0))[0]) / -spread, 3) if spread else 0.0


def auc(chosen: Int[np.ndarray, "pairs"], rejected: Int[np.ndarray, "pairs"]) -> float:
    """Returns how often a chosen completion is longer than a rejected one, of any two; one half for equal ones.

    >>> auc(np.array([3, 5]), np.array([1, 3]))
    0.875
    """
    order = np.sort(rejected)
    below, up_to = (np.searchsorted(order, chosen, side) for side in ("left", "right"))
    return round(float(np.mean(below + up_to) / (2 * len(order))), 4) if len(order) else 0.5


def evening_threshold(facts: Facts) -> Threshold | None:
    """Returns the threshold after which the longer completion wins half of the time; None without pairs that differ."""
    gaps = facts.lengths[:, 0] - facts.lengths[:, 1]
    longer, shorter = gaps[gaps > 0], -gaps[gaps < 0]
    if len(longer) == len(shorter):
        return None
    side, many, few = ("chosen", longer, shorter) if len(longer) > len(shorter) else ("rejected", shorter, longer)
    characters = int(np.sort(many)[len(few) - 1]) if len(few) else 0
    return Threshold(side, characters, int(len(gaps) - np.count_nonzero(many > characters)))


def shortcuts(facts: Facts) -> Iterator[Finding]:
    """Yields each shortcut that stands out: in the whole dataset, and in a source that differs from it."""
    found = shortcuts_of(facts)
    overall = {each.name: each for each in found if each.source == ALL}
    for each in found:
        whole = overall[each.name]
        told = each.source != ALL and whole.stands_out and (each.rate > 0.5) == (whole.rate > 0.5)
        if each.stands_out and not told:
            yield _finding(facts, each)


def _finding(facts: Facts, each: Shortcut) -> Finding:
    where = f" from {each.source}" if each.source else ""
    what = "is longer" if each.name == "length" else MARKS[each.name].words
    verb = "chosen" if each.rate > 0.5 else "rejected"
    text = (
        f"in {max(each.rate, 1 - each.rate):.0%} of the {each.differ:,} pairs{where} in which only one completion "
        f"{what}, it is the {verb} one"
    )
    if each.name == "length":
        text += f" (Cohen's d {each.effect:.2f}, AUC {each.auc:.2f})"
    figures = each.values()
    threshold = evening_threshold(facts) if each.name == "length" and not each.source else None
    if threshold is not None:
        figures |= {"threshold": threshold._asdict()}
        text += (
            f"; without the pairs whose {threshold.side} completion is longer by more than {threshold.characters:,} "
            f"characters both would be, as often: {threshold.left:,} of {each.pairs:,} pairs"
        )
    return Finding("shortcuts", "warning", text, figures, examples=_examples(facts, each))


def _examples(facts: Facts, each: Shortcut) -> Sequence[int]:
    if each.name == "length":
        gaps = facts.lengths[:, 0] - facts.lengths[:, 1]
    else:
        gaps = (facts.marks >> list(MARKS).index(each.name) & 1).astype(int) @ np.array([1, -1])
    behind = gaps > 0 if each.rate > 0.5 else gaps < 0
    if each.source:
        names = [name or NONE for name in facts.source_names]
        behind &= facts.sources == names.index(each.source)
    return [int(row) for row in facts.numbers[np.flatnonzero(behind)[:MAX_EXAMPLES]]]


def echoes(facts: Facts) -> Iterator[Finding]:
    """Yields the rows whose chosen completion begins with the prompt once more, and whose rejected one does not."""
    yield from _marked(facts, "echoes", "warning", "the chosen completion begins with the prompt once more")


def refusals(facts: Facts) -> Iterator[Finding]:
    """Yields the rows whose chosen completion refuses where the rejected one answers."""
    yield from _marked(facts, "refusals", "note", "the chosen completion refuses, and the rejected one does not")


def _marked(facts: Facts, name: str, level: Level, words: str) -> Iterator[Finding]:
    chosen, rejected = (facts.marks[:, side] >> list(MARKS).index(name) & 1 for side in (0, 1))
    rows = facts.numbers[chosen > rejected]
    if len(rows):
        faults = {int(row): words for row in rows}
        yield Finding(name, level, f"in {in_rows(len(faults))} {words}", {"rows": len(faults)}, faults)
