"""Rows that are there twice."""

from easydel.inspect.duplicates import continued, many_for_a_prompt, same_completions, same_pairs
from oracles.inspected import facts_of


def test_a_row_again_is_the_later_one():
    (found,) = same_pairs(facts_of("a:b>c", "a:b>d", " A :B>c", "a:b>c"))
    assert found.faults == {2: "is row 0 again", 3: "is row 0 again"}
    assert not list(same_pairs(facts_of("a:b>c", "a:c>b", "b:b>c")))


def test_the_same_completions_are_an_error_and_those_that_differ_in_case_a_note():
    same, alike = same_completions(facts_of("a:b>c", "a:Yes.>yes", "a:Yes.>Yes."))
    assert (same.level, list(same.faults)) == ("error", [2])
    assert (alike.level, list(alike.faults)) == ("note", [1])


def test_a_completion_that_goes_on_from_the_other_is_found_both_ways():
    rejected, chosen = continued(facts_of("a:yes>yes it is", "a:yes it is>yes", "a:yes>no"))
    assert (rejected.level, list(rejected.faults)) == ("warning", [0])
    assert (chosen.level, list(chosen.faults)) == ("note", [1])


def test_the_pairs_of_a_prompt_behind_the_first_few_are_found():
    rows = ["a:b>c", "z:b>c", *(f"a:b>d{at}" for at in range(3))]
    (found,) = many_for_a_prompt(facts_of(*rows), 2)
    assert found.faults == {3: "is pair 3 of 4 of its prompt", 4: "is pair 4 of 4 of its prompt"}
    assert not list(many_for_a_prompt(facts_of(*rows), 4))
