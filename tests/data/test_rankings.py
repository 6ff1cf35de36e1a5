"""Which of several completions is better, by a label, ranks or scores."""

import pytest

from easydel.data.rankings import TIE, UNRANKED, VERDICTS, Candidates, best_and_worst, by_worth, preferred
from easydel.errors import DataError


def verdict(first: str, column: str):
    """What reads `column` beside the completion column `first`."""
    return next(each.better for each in VERDICTS if each.responses[0] == first and column in each.columns)


@pytest.mark.parametrize(
    ("first", "column", "values"),
    [
        ("response_0", "better_response_id", {0: 0, 1: 1, "1": 1, -1: None, None: None}),
        ("response1", "overall_preference", {-3: 0, 2: 1, 0: None, "-1": 0, "": None}),
        ("output_1", "preference", {1: 0, 2: 1, "2.0": 1, 1.5: None, "tie": None, "model_a": 0, "Response 2": 1}),
        ("response_a", "winner", {"model_a": 0, "B": 1, "a>>b": 0, "tie (bothbad)": None, "neither": None, None: None}),
        ("human_ref_A", "labels", {1: 0, 0: 1}),
    ],
)
def test_a_label_names_the_better_of_two(first, column, values):
    assert {value: verdict(first, column)(value, "row 0") for value in values} == values


@pytest.mark.parametrize(
    ("first", "column", "value", "words"),
    [
        (
            "response_0",
            "better_response_id",
            2,
            "it must be 0 if the first completion is better, or 1 if the second is",
        ),
        ("output_1", "preference", 3, "it must be 1 if the first completion is better, 2 if the second is, or 'tie'"),
        ("output_1", "preference", "x", "it must be a finite number"),
        ("response_a", "winner", "c", "it must be 'a', 'b' or 'tie'"),
        ("human_ref_A", "labels", [1], "it must be 1 if the first completion is better, or 0 if the second is"),
        ("response1", "overall_preference", float("inf"), "it must be a finite number"),
    ],
)
def test_a_label_of_another_kind_is_an_error_that_lists_the_valid_ones(first, column, value, words):
    with pytest.raises(DataError, match=f"row 0: 'x' is .*; {words}"):
        verdict(first, column)(value, "row 0: 'x'")


def test_the_best_and_the_worst_go_by_ranks_or_scores_within_or_beside_the_completions():
    ranked = [{"answer": "b", "rank": 2}, {"answer": "c", "rank": 3}, {"answer": "a", "rank": 1}]
    scored = [{"response": "b", "score": "0.5"}, {"response": "a", "score": 4}, {"response": "c", "score": -1}]
    for completions in (ranked, scored, {"answer": ["c", "a"], "rank": [2, 1]}):
        assert best_and_worst(completions, None, "row 0") == Candidates("a", "c")
    assert best_and_worst(["b", "a", "c"], [2, 3, 1], "row 0") == Candidates("a", "c")
    assert best_and_worst(["b", "a", "c"], [2, 1, 3], "row 0", by_rank=True) == Candidates("a", "c")
    message = {"role": "assistant", "content": "a", "score": 2}
    assert best_and_worst([message, {**message, "content": "c", "score": 1}], None, "row 0") == Candidates(
        {"role": "assistant", "content": "a"}, {"role": "assistant", "content": "c"}
    )


def test_of_equal_ones_the_first_is_taken_and_where_all_are_there_is_no_pair():
    assert best_and_worst(["a", "b", "c", "d"], [2, 2, 1, 1], "row 0") == Candidates("a", "c")
    assert best_and_worst(["a", "b"], [1, 1], "row 0").dropped == TIE
    assert best_and_worst(["a", "b"], [1, None], "row 0").dropped == UNRANKED
    assert best_and_worst([], [], "row 0").dropped == UNRANKED
    assert best_and_worst(["a", "b"], None, "row 0") is None  # nothing ranks them


def test_scores_of_another_number_than_completions_are_an_error():
    with pytest.raises(
        DataError, match="row 0 holds 2 completions, but the number of ranks or scores is 3: give one for"
    ):
        best_and_worst(["a", "b"], [1, 2, 3], "row 0")
    with pytest.raises(DataError, match="row 0 1 is 'x'; it must be a finite number"):
        best_and_worst(["a", "b"], [1, "x"], "row 0")
    with pytest.raises(DataError, match=r"row 0 is a dict with the keys 'text'; it must be a list of completions"):
        best_and_worst({"text": "a"}, [1], "row 0")


def test_of_two_scores_the_higher_wins():
    assert [by_worth(*pair, "row 0") for pair in ((1, 2), ("2", 1.5), (1, 1), (None, 1))] == [1, 0, None, None]
    assert preferred("a", "b", 0) == Candidates("a", "b")
    assert preferred("a", "b", 1) == Candidates("b", "a")
    assert preferred("a", "b", None).dropped == TIE
