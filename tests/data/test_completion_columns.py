"""Which columns of a row are the two completions."""

import pytest

from easydel.data.column_names import RowColumns
from easydel.data.completion_columns import EMPTY, Completions, completions_of
from easydel.data.rankings import TIE, UNRANKED
from easydel.errors import DataError

U, B = {"role": "user", "content": "sky?"}, {"role": "assistant", "content": "blue"}


def found(**row) -> Completions:
    return completions_of(RowColumns(row, {}, 3))


@pytest.mark.parametrize(
    ("row", "columns"),
    [
        ({"chosen": "a", "rejected": "b"}, ("chosen", "rejected")),
        ({"response_chosen": "a", "response_rejected": "b"}, ("response_chosen", "response_rejected")),
        ({"response": "a", "rejected_response": "b"}, ("response", "rejected_response")),
        ({"real": "a", "generated": "b", "chosen": None}, ("real", "generated")),
        ({"response_0": "b", "response_1": "a", "better_response_id": 1}, ("response_0", "response_1")),
        ({"answer_0": "b", "answer_1": "a", "score_0": 1, "score_1": 2}, ("answer_0", "answer_1")),
        ({"completions": ["b", "a"], "scores": [1, 2]}, ("completions", "completions")),
    ],
)
def test_two_completions_are_found_under_their_names(row, columns):
    assert found(**row) == Completions("a", "b", columns)


def test_a_conversation_that_is_answered_is_the_chosen_one_beside_a_rejected_one():
    assert found(messages=[U, B], rejected_response="red") == Completions(
        [U, B], "red", ("messages", "rejected_response")
    )
    with pytest.raises(DataError, match=r"row 3 has no 'chosen_response'.* columns={'chosen_response': '\.\.\.'}"):
        found(messages=[U], rejected_response="red")


def test_a_row_without_a_preferred_completion_is_dropped_with_its_cause():
    assert found(chosen="", rejected="b").dropped == EMPTY
    assert found(response_a="a", response_b="b", winner="tie").dropped == TIE
    assert found(answers=[]).dropped == UNRANKED


def test_a_row_without_two_completions_names_its_columns_and_how_to_name_others():
    with pytest.raises(DataError, match=r"row 3 has no 'rejected'\. Its columns: 'prompt', 'chosen'\."):
        found(prompt="sky?", chosen="a")
    with pytest.raises(DataError, match=r"Its columns: \(none\)\. .* --columns chosen=\.\.\., in Python"):
        found()
    with pytest.raises(DataError, match="one completion, 'output', and 'score': unpaired preference data"):
        found(output="a", score=1)
    with pytest.raises(
        DataError, match="'response_a' and 'response_b', but none of the columns that say which is better"
    ):
        found(response_a="a", response_b="b")
