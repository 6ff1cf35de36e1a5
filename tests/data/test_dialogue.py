"""Where a prompt ends and the answers begin: each message once, whoever repeats it."""

import pytest

from easydel.data.format import Dialogue, Plain, read_row
from easydel.errors import DataError

U, B = {"role": "user", "content": "sky?"}, {"role": "assistant", "content": "blue"}
R, S = {"role": "assistant", "content": "red"}, {"role": "system", "content": "Be kind."}
SEA, LOOK = {"role": "user", "content": "sea?"}, {"role": "assistant", "content": "Let me look."}
TOOL = {"role": "tool", "content": "a photo"}
SPACED, PARTS = {"role": "user", "content": " sky? "}, {"role": "user", "content": [{"type": "text", "text": "sky?"}]}


def said(**row):
    found = read_row(row, 3)
    assert isinstance(found, Dialogue)
    return found[:3]


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": [U], "chosen": [B], "rejected": [R]},
        {"prompt": "sky?", "chosen": [B], "rejected": [R]},
        {"prompt": [U], "chosen": "blue", "rejected": "red"},
        {"prompt": [U], "chosen": B, "rejected": [U, R]},
        {"prompt": [U], "chosen": [U, B], "rejected": [R]},
        {"prompt": [U], "chosen": [U, B], "rejected": [U, R]},
        {"prompt": "sky?", "chosen": [U, B], "rejected": [U, R]},
        {"prompt": " sky?\n", "chosen": [U, B], "rejected": [U, R]},
        {"prompt": "\n\nHuman: sky?\n\nAssistant:", "chosen": [U, B], "rejected": [U, R]},
        {"prompt": [SPACED], "chosen": [U, B], "rejected": [U, R]},
        {"prompt": [PARTS], "chosen": [U, B], "rejected": [U, R]},
        {"prompt": [U], "chosen": [PARTS, B], "rejected": [U, R]},
        {"chosen": [U, B], "rejected": [U, R]},
        {"chosen": [PARTS, B], "rejected": [U, R]},
        {"messages": [U, B], "chosen": [U, B], "rejected": [U, R]},
        {"messages": [U, B], "chosen": B, "rejected": R},
        {"messages": [U, R], "chosen": "blue", "rejected": "red"},
        {"messages": [U], "prompt": "sky?", "chosen": [U, B], "rejected": [U, R]},
        {"question": "sky?", "chosen": "blue", "rejected": "red"},
        {"question": "sky?", "chosen": "sky? blue", "rejected": "sky? red"},
        {"question": "sky?", "chosen": "sky?\nblue", "rejected": " sky?  red"},
        {"prompt": [U], "chosen": "sky? blue", "rejected": "sky? red"},
        {"prompt": {"role": None, "content": None}, "chosen": [U, B], "rejected": [U, R]},
        {"prompt": [U, {"role": None, "content": None}, None], "chosen": [B], "rejected": [R]},
        {"prompt": None, "messages": [], "conversations": [U], "chosen": B, "rejected": R},
    ],
)
def test_a_question_is_asked_once_whoever_repeats_it(row):
    assert said(**row) == ([U], [B], [R])


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": [S, U], "chosen": [B], "rejected": [R]},
        {"prompt": [S, U], "chosen": [U, B], "rejected": [U, R]},
        {"prompt": [S, U], "chosen": [U, B], "rejected": [S, U, R]},
        {"prompt": [S, U], "chosen": [S, U, B], "rejected": [R]},
        {"prompt": [S], "chosen": [U, B], "rejected": [U, R]},
        {"prompt": [S], "chosen": [S, U, B], "rejected": [S, U, R]},
        {"prompt": [U], "chosen": [S, U, B], "rejected": [S, U, R]},
        {"prompt": [U], "chosen": [S, U, B], "rejected": [R]},
        {"prompt": "sky?", "chosen": [S, U, B], "rejected": [S, U, R]},
        {"messages": [S, U, B], "chosen": [U, B], "rejected": [U, R]},
        {"messages": [U, B], "chosen": [S, U, B], "rejected": [S, U, R]},
        {"chosen": [S, U, B], "rejected": [S, U, R]},
        {"system": "Be kind.", "chosen": [U, B], "rejected": [U, R]},
        {"system": "Be kind.", "chosen": [S, U, B], "rejected": [S, U, R]},
        {"system": "Be kind.", "prompt": "sky?", "chosen": [U, B], "rejected": [U, R]},
        {"system": "Be kind.", "prompt": "sky?", "chosen": "blue", "rejected": "red"},
        {"system_prompt": "Be kind.", "messages": [U], "chosen": B, "rejected": R},
        {"system": "Be kind.", "question": "sky?", "chosen": "blue", "rejected": "red"},
    ],
)
def test_the_system_message_is_that_of_whichever_has_one(row):
    assert said(**row) == ([S, U], [B], [R])


CALLING = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}]}


def test_messages_are_the_same_whatever_their_ids_dates_and_order_of_keys():
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1, "b": null}'}}
    dated = [{**U, "date": 1, "id": 7}, {**CALLING, "tool_calls": [call]}, {**TOOL, "tool_call_id": "c1"}]
    bare = [{"content": "sky?", "role": "user", "date": 2}, {**CALLING, "name": None}, TOOL]
    plain = said(prompt=bare, chosen=[B], rejected=[R])
    for row in (
        {"prompt": dated, "chosen": [*bare, B], "rejected": [*bare, R]},
        {"chosen": [*dated, B], "rejected": [*bare, R]},
    ):
        found = said(**row)
        assert [message["content"] for message in found[0]] == [message["content"] for message in plain[0]]
        assert found[1:] == ([B], [R])


def test_answers_that_begin_alike_do_not_swallow_the_prompt():
    for prompt in ("sky?", [U]):
        for begin in ([], [U]):
            found = said(prompt=prompt, chosen=[*begin, LOOK, TOOL, B], rejected=[*begin, LOOK, TOOL, R])
            assert found == ([U], [LOOK, TOOL, B], [LOOK, TOOL, R])
    assert said(chosen=[U, LOOK, TOOL, B], rejected=[U, LOOK, TOOL, R]) == ([U, LOOK, TOOL], [B], [R])


def test_a_question_that_only_begins_two_whole_conversations_is_the_prompt_to_the_last_turn_they_share():
    for prompt in ("sky?", [U], None):
        assert said(prompt=prompt, chosen=[U, LOOK, SEA, B], rejected=[U, LOOK, SEA, R]) == ([U, LOOK, SEA], [B], [R])
    assert said(prompt="sea?", chosen=[U, LOOK, SEA, B], rejected=[U, LOOK, SEA, R]) == ([U, LOOK, SEA], [B], [R])


def test_answers_may_go_on_with_turns_of_the_user():
    assert said(prompt=[U, LOOK], chosen=[SEA, B], rejected=[SEA, R]) == ([U, LOOK, SEA], [B], [R])
    assert said(prompt=[U], chosen=[LOOK, SEA, B], rejected=[R]) == ([U], [LOOK, SEA, B], [R])


def test_an_answer_that_the_prompt_begins_is_gone_on_with():
    assert said(prompt=[U, LOOK], chosen=[B], rejected=[R]) == ([U, LOOK], [B], [R])


def test_texts_that_both_begin_with_the_whole_prompt_hold_it_once():
    assert read_row({"prompt": "sky?", "chosen": "sky? blue", "rejected": "sky? red"}, 0) == Plain(
        "sky?", " blue", " red"
    )
    spaced = {"prompt": "sky?\n", "chosen": "sky? blue", "rejected": " sky?\nred"}
    assert read_row(spaced, 0) == Plain("sky?", " blue", "\nred")
    word = {"prompt": "Is it a sky? ", "chosen": "Is it a sky?scraper", "rejected": "Is it a sky? red"}
    assert read_row(word, 0) == Plain(*word.values())
    one = {"prompt": "sky?", "chosen": "sky? blue", "rejected": " red"}
    assert read_row(one, 0) == Plain("sky?", "sky? blue", " red")
    same = {"prompt": "ha", "chosen": "ha", "rejected": "haha"}
    assert read_row(same, 0) == Plain("ha", "ha", "haha")


def test_a_greeting_given_back_is_no_copy_of_the_question():
    assert said(question="Hi", chosen="Hi there", rejected="Hi you")[1][0]["content"] == "Hi there"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"prompt": [U], "chosen": [SEA, B], "rejected": [U, R]},
            "'chosen' begins with a user message that is not in 'prompt': 'sea[?]', where the prompt has 'sky[?]'",
        ),
        (
            {"prompt": [U], "chosen": [{"role": "user", "content": "x"}], "rejected": [R]},
            "the completion in 'chosen' has no assistant message; its roles: 'user'. Give",
        ),
        (
            {"prompt": [U, B], "chosen": [U, R], "rejected": [U, LOOK]},
            "'chosen' begins like 'prompt', but differs from it",
        ),
        ({"prompt": [S, U], "chosen": [{**S, "content": "Be rude."}, U, B], "rejected": [R]}, "the system messages of"),
        (
            {"prompt": [U], "chosen": [S, U, B], "rejected": [U, R]},
            "'chosen' begins with a system message, 'rejected'",
        ),
        ({"chosen": [S, U, B], "rejected": [U, R]}, "'chosen' begins with a system message, 'rejected' does not"),
        (
            {"prompt": [U, LOOK], "chosen": [SEA], "rejected": [R]},
            "the completion in 'chosen' has no assistant message",
        ),
        ({"prompt": [S], "chosen": [U, B], "rejected": [SEA, R]}, "have no first message in common"),
        (
            {"chosen": [U, B, SEA, B], "rejected": [U, B, {**SEA, "content": "air?"}, R]},
            "the conversations first differ at message 2, a user message, .*: 'chosen': 'sea[?]' and 'rejected'",
        ),
        ({"prompt": [U], "chosen": [S], "rejected": [R]}, "the completion in 'chosen' has no assistant .* 'system'"),
        ({"chosen": [B], "rejected": [R]}, "have no first message in common"),
    ],
)
def test_conversations_that_do_not_fit_each_other_are_refused(row, message):
    with pytest.raises(DataError, match=f"row 3: .*{message}"):
        read_row(row, 3)
