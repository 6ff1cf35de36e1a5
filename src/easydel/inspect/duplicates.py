"""Rows that are there twice, and prompts with many pairs."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Int

from easydel.inspect.facts import SAME, Facts
from easydel.inspect.findings import Finding, Level, in_rows


def same_pairs(facts: Facts) -> Iterator[Finding]:
    """Yields the rows that say what an earlier one says, but for case and white space."""
    together = np.stack([facts.prompts, facts.chosen, facts.rejected], axis=1)
    first = _first_of_each(np.unique(together, axis=0, return_inverse=True)[1].reshape(-1))
    again = np.flatnonzero(first != np.arange(len(first)))
    if len(again):
        faults = {int(facts.numbers[at]): f"is row {facts.numbers[first[at]]} again" for at in again}
        yield Finding(
            "same_pairs",
            "warning",
            f"an earlier row again, but for case and white space: {in_rows(len(faults))}",
            {"rows": len(faults)},
            faults,
        )


def same_completions(facts: Facts) -> Iterator[Finding]:
    """Yields the rows whose completions are the same, so that nothing can be learned of them.

    Those that differ in case, white space or the marks at their ends are a note: that may be what the pair is about.
    """
    alike, same = facts.chosen == facts.rejected, facts.begins == SAME
    kinds: dict[Level, str] = {
        "error": "chosen and rejected are the same",
        "note": "chosen and rejected are the same, but for case, white space or marks at their ends",
    }
    for level, words in kinds.items():
        rows = same if level == "error" else alike & ~same
        faults = {int(row): words for row in facts.numbers[rows]}
        if faults:
            yield Finding(
                "same_completions", level, f"in {in_rows(len(faults))} {words}", {"rows": len(faults)}, faults
            )


def continued(facts: Facts) -> Iterator[Finding]:
    """Yields the rows whose rejected completion is the chosen one with something behind it, and the other way round."""
    kinds: dict[int, tuple[Level, str]] = {
        1: ("warning", "the rejected completion is the chosen one with something behind it"),
        2: ("note", "the chosen completion is the rejected one with something behind it"),
    }
    for kind, (level, words) in kinds.items():
        rows = np.flatnonzero(facts.begins == kind)
        if len(rows):
            faults = {int(facts.numbers[at]): words for at in rows}
            yield Finding("continued", level, f"in {in_rows(len(faults))} {words}", {"rows": len(faults)}, faults)


def many_for_a_prompt(facts: Facts, most: int) -> Iterator[Finding]:
    """Yields the rows of a prompt behind the first `most`."""
    prompts, places = np.unique(facts.prompts, return_inverse=True)
    order = np.argsort(places, kind="stable")
    starts = np.searchsorted(places[order], np.arange(len(prompts)))
    rank = np.empty(len(order), int)
    rank[order] = np.arange(len(order)) - starts[places[order]]
    beyond = np.flatnonzero(rank >= most)
    if len(beyond):
        counts = np.bincount(places)
        faults = {
            int(facts.numbers[at]): f"is pair {rank[at] + 1} of {counts[places[at]]} of its prompt" for at in beyond
        }
        yield Finding(
            "many_for_a_prompt",
            "warning",
            f"more than {most} pairs of a prompt, up to {counts.max():,}: {in_rows(len(faults))} beyond that, of "
            f"{np.count_nonzero(counts > most):,} prompts",
            {"prompts": int(np.count_nonzero(counts > most)), "most": int(counts.max()), "rows": len(faults)},
            faults,
        )


def _first_of_each(groups: Int[np.ndarray, "pairs"]) -> Int[np.ndarray, "pairs"]:
    """Returns the place of the first member of the group of each."""
    found, first = np.unique(groups, return_index=True)
    return first[np.searchsorted(found, groups)]
