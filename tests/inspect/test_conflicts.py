"""Rows that contradict each other."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from easydel.inspect.conflicts import both_sides, components, contradictions, cycles
from oracles.inspected import facts_of


def test_two_rows_that_prefer_the_opposite_are_both_found():
    (found,) = contradictions(facts_of("p:a>b", "p:b> A", "q:b>a", "p:a>c"))
    assert set(found.faults) == {0, 1}
    assert found.faults[0] == "row 1 prefers the other completion"
    assert not list(contradictions(facts_of("p:a>b", "q:b>a", "p:a>a")))


def test_a_circle_is_found_and_what_leads_to_it_is_not():
    rows = ["p:a>b", "p:b>c", "p:c>a", "p:x>a", "p:c>y", "q:a>b", "q:b>c"]
    (found,) = cycles(facts_of(*rows))
    assert set(found.faults) == {0, 1, 2}
    assert found.faults[1] == "the preferences of rows 0, 1, 2 go in a cycle"


def test_a_contradiction_is_no_circle():
    assert not list(cycles(facts_of("p:a>b", "p:b>a", "p:b>c")))


def test_an_answer_on_both_sides_is_a_note():
    (found,) = both_sides(facts_of("p:a>b", "q:c>a", "r:d>e"))
    assert (found.level, set(found.faults)) == ("note", {0, 1})
    assert found.faults == {0: "its chosen completion is rejected in row 1", 1: "its rejected one is chosen in row 0"}


def test_a_row_of_two_equal_completions_is_not_counted_among_them():
    (found,) = both_sides(facts_of("p:a>b", "q:c>a", "r:e>e"))
    assert found.figures == {"answers": 1, "rows": 2}


@given(st.sets(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=14))
def test_nodes_are_in_one_component_where_each_reaches_the_other(edges):
    graph: dict[int, list[int]] = {}
    for start, end in sorted(edges):
        graph.setdefault(start, []).append(end)
    reach = {(node, node) for node in range(6)} | edges
    for middle, start, end in itertools.product(range(6), repeat=3):
        if (start, middle) in reach and (middle, end) in reach:
            reach.add((start, end))
    found = components(graph)
    for one, other in itertools.combinations(found, 2):
        assert (found[one] == found[other]) == ((one, other) in reach and (other, one) in reach)


@pytest.mark.parametrize("length", [3, 2000])
def test_a_long_circle_is_found_without_recursion(length):
    found = components({at: [(at + 1) % length] for at in range(length)})
    assert len(set(found.values())) == 1
    assert len(found) == length
