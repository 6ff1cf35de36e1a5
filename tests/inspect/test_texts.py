"""Rows become the texts that are compared, whatever form they have."""

import pytest

from easydel.data.bad_rows import BadRow
from easydel.inspect.texts import TextPair, Unusable, normalized, text_of_row, words_of

ASKED = [{"role": "user", "content": "Is it a bird?"}]
YES, NO = {"role": "assistant", "content": "Yes."}, {"role": "assistant", "content": "No."}


def test_rows_of_every_form_say_the_same():
    text = text_of_row({"prompt": "Is it a bird?", "chosen": "Yes.", "rejected": "No."}, 0)
    talk = text_of_row({"messages": ASKED, "chosen": YES, "rejected": NO}, 0)
    public = text_of_row(
        {"question": "Is it a bird?", "answers": [{"answer": "No.", "rank": 2}, {"answer": "Yes.", "rank": 1}]}, 0
    )
    for pair in (text, talk, public):
        assert isinstance(pair, TextPair)
        assert (pair.asked, pair.first, pair.chosen, pair.rejected) == ("Is it a bird?", "Is it a bird?", "Yes.", "No.")


def test_of_a_conversation_what_the_user_asks_is_apart_from_the_rest():
    system = {"role": "system", "content": "Be kind."}
    pair = text_of_row(
        {"prompt": [system, *ASKED, YES, {"role": "user", "content": "Sure?"}], "chosen": [YES], "rejected": [NO]}, 3
    )
    assert isinstance(pair, TextPair)
    assert (pair.number, pair.kind, pair.asked, pair.first) == (
        3,
        "conversation",
        "Is it a bird?\nSure?",
        "Is it a bird?",
    )
    assert pair.roles == (("system", "user", "assistant", "user"), ("assistant",), ("assistant",))
    assert pair.prompt.startswith("Be kind.")


def test_token_ids_are_compared_as_numbers():
    pair = text_of_row({"prompt_ids": [5, 6], "chosen_ids": [7], "rejected_ids": [8, 9]}, 0)
    assert isinstance(pair, TextPair)
    assert pair[1:3] == ("token ids", "5 6")
    assert (pair.chosen, pair.rejected) == ("7", "8 9")


@pytest.mark.parametrize(
    ("row", "why", "broken"),
    [
        ({"prompt": "a", "chosen": "b", "rejected": " "}, "a completion is empty", False),
        ({"prompt": "a", "chosen": 3, "rejected": "c"}, "row 4: 'chosen' is 3 (int)", True),
        ({"prompt_ids": [1], "chosen_ids": ["x"], "rejected_ids": [2]}, "row 4: ", True),
        (BadRow("line 5: not valid JSON"), "line 5: not valid JSON", True),
        ("a string", "it is of type str", True),
    ],
)
def test_a_row_without_a_pair_says_why(row, why, broken):
    found = text_of_row(row, 4)
    assert isinstance(found, Unusable)
    assert found.why.startswith(why)
    assert found.is_broken == broken


def test_calls_of_tools_are_a_part_of_what_is_said():
    call = {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"type": "function", "function": {"name": "look", "arguments": {}}}],
    }
    pair = text_of_row({"messages": ASKED, "chosen": call, "rejected": NO}, 0)
    assert isinstance(pair, TextPair)
    assert "look" in pair.chosen


def test_normalized_texts_differ_where_their_words_or_signs_do():
    assert normalized(" A\tB. ") == normalized("a b")
    assert normalized("ﬁne ①") == normalized("fine 1")
    assert normalized("x + y") != normalized("x - y")
    assert words_of("Don't 3x") == ("don", "t", "3x")


@pytest.mark.parametrize("numbers", [{"preference": 1.2}, {"weight": -1}, {"margin": "wide"}])
def test_a_row_whose_number_stops_training_is_broken(numbers):
    row = {"prompt": "Is it?", "chosen": "Yes.", "rejected": "No.", **numbers}
    found = text_of_row(row, 4)
    assert isinstance(found, Unusable)
    assert found.is_broken
    assert next(iter(numbers)) in found.why
    assert isinstance(text_of_row({**row, **dict.fromkeys(numbers)}, 4), TextPair)
