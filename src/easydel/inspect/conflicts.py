"""Rows that contradict each other: A before B here and B before A there, cycles, answers on both sides."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from easydel.inspect.facts import Facts
from easydel.inspect.findings import Finding, in_rows


class _Row(NamedTuple):
    place: int
    chosen: int
    rejected: int


def contradictions(facts: Facts) -> Iterator[Finding]:
    """Yields the rows whose pair is the other way round in another row of the same prompt."""
    faults: dict[int, str] = {}
    for rows in _groups(facts):
        by_pair = {(row.chosen, row.rejected): row.place for row in reversed(rows)}
        for row in rows:
            other = by_pair.get((row.rejected, row.chosen))
            if other is not None and row.chosen != row.rejected:
                faults[int(facts.numbers[row.place])] = f"row {facts.numbers[other]} prefers the other completion"
    if faults:
        yield Finding(
            "contradictions",
            "error",
            f"A before B in one row, B before A in another of the same prompt: {in_rows(len(faults))}",
            {"rows": len(faults)},
            faults,
        )


def cycles(facts: Facts) -> Iterator[Finding]:
    """Yields the rows whose preferences go in a cycle of three or more answers, A before B before C before A."""
    faults: dict[int, str] = {}
    for rows in _groups(facts):
        edges = {(row.chosen, row.rejected) for row in rows if row.chosen != row.rejected}
        kept = {edge for edge in edges if edge[::-1] not in edges}  # the others are contradictions
        graph: dict[int, list[int]] = defaultdict(list)
        for chosen, rejected in sorted(kept):
            graph[chosen].append(rejected)
        of = components(dict(graph))
        members = defaultdict(list)
        for row in rows:
            if (row.chosen, row.rejected) in kept and of[row.chosen] == of[row.rejected]:
                members[of[row.chosen]].append(int(facts.numbers[row.place]))
        for cycle in members.values():
            shown = ", ".join(map(str, cycle[:6])) + (", ..." if len(cycle) > 6 else "")
            faults |= dict.fromkeys(cycle, f"the preferences of rows {shown} go in a cycle")
    if faults:
        yield Finding(
            "cycles",
            "error",
            f"A before B before C before A: {in_rows(len(faults))}",
            {"rows": len(faults)},
            faults,
        )


def both_sides(facts: Facts) -> Iterator[Finding]:
    """Yields the rows with an answer that is chosen in one row and rejected in another; rankings have such answers."""
    differ = facts.chosen != facts.rejected
    both = np.intersect1d(facts.chosen[differ], facts.rejected[differ])
    if not len(both):
        return
    faults: dict[int, str] = {}
    for side, words in (
        (facts.chosen, "its chosen completion is rejected"),
        (facts.rejected, "its rejected one is chosen"),
    ):
        other = facts.rejected if side is facts.chosen else facts.chosen
        found, places = np.unique(other, return_index=True)
        for at in np.flatnonzero(np.isin(side, both) & (facts.chosen != facts.rejected)):
            partner = int(places[np.searchsorted(found, side[at])])
            faults.setdefault(int(facts.numbers[at]), f"{words} in row {facts.numbers[partner]}")
    if faults:
        yield Finding(
            "both_sides",
            "note",
            f"chosen in one row and rejected in another: {len(both):,} completions, in {in_rows(len(faults))}",
            {"answers": len(both), "rows": len(faults)},
            faults,
        )


def _groups(facts: Facts) -> Iterator[list[_Row]]:
    """Yields the rows of each prompt that has several."""
    order = np.argsort(facts.prompts, kind="stable")
    bounds = np.flatnonzero(np.diff(facts.prompts[order])) + 1
    for rows in np.split(order, bounds):
        if len(rows) > 1:
            yield [_Row(int(at), int(facts.chosen[at]), int(facts.rejected[at])) for at in rows]


def components(graph: Mapping[int, Sequence[int]]) -> dict[int, int]:
    """Returns the strongly connected component of each node: nodes that reach each other have the same number.

    Tarjan, Depth-first search and linear graph algorithms (1972), without recursion.

    >>> found = components({1: [2], 2: [3], 3: [1, 4]})
    >>> found[1] == found[2] == found[3] != found[4]
    True
    """
    index: dict[int, int] = {}
    low: dict[int, int] = {}
    found: dict[int, int] = {}
    path: list[int] = []
    for root in graph:
        if root in index:
            continue
        index[root] = low[root] = len(index)
        path.append(root)
        work = [(root, iter(graph[root]))]
        while work:
            node, ends = work[-1]
            end = next(ends, None)
            if end is None:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    member = None
                    while member != node:
                        member = path.pop()
                        found[member] = index[node]
            elif end not in index:
                index[end] = low[end] = len(index)
                path.append(end)
                work.append((end, iter(graph.get(end, ()))))
            elif end not in found:
                low[node] = min(low[node], index[end])
    return found
