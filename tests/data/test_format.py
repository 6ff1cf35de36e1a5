import pytest

from easydel.data.format import shared_beginning
from easydel.data.render import Preference, to_preference
from easydel.errors import DataError

USER = {"role": "user", "content": "sky?"}
BLUE = {"role": "assistant", "content": "blue"}
GREEN = {"role": "assistant", "content": "green"}
HUMAN = {"from": "human", "value": "sky?"}


def render(messages, add_generation_prompt, tools, options):
    text = f"tools={len(tools)} " if tools else ""
    text += "".join(f"{key}={value} " for key, value in options.items())
    text += "".join(f"<{message['role']}>{message['content']}" for message in messages)
    return text + "<assistant>" * add_generation_prompt


def test_text_is_joined_to_the_prompt_without_a_separator():
    row = {"prompt": "sky? ", "chosen": "blue", "rejected": "green", "source": "a book"}
    assert to_preference(row, 0) == Preference("sky? ", "sky? blue", "sky? green", templated=False)


@pytest.mark.parametrize(
    ("chosen", "rejected", "prompt"),
    [
        ("The sky is blue", "The sky is green", "The sky is"),  # backs off the space
        ("sky: blue", "sky: green", "sky:"),
        ("sky:blue", "sky:green", "sky:"),
        ("same", "same", "sam"),
    ],
)
def test_the_implicit_prompt_of_texts_is_their_common_beginning(chosen, rejected, prompt):
    row = {"chosen": chosen, "rejected": rejected}
    assert to_preference(row, 0) == Preference(prompt, chosen, rejected, templated=False)


def test_the_implicit_prompt_of_conversations_is_their_common_messages():
    row = {"chosen": [USER, BLUE], "rejected": [USER, GREEN]}
    explicit = {"prompt": [USER], "chosen": [BLUE], "rejected": [GREEN]}
    expected = Preference(
        "<user>sky?<assistant>", "<user>sky?<assistant>blue", "<user>sky?<assistant>green", templated=True
    )
    assert to_preference(row, 0, render) == to_preference(explicit, 0, render) == expected


def test_a_prompt_in_text_beside_whole_conversations_gives_way_to_them():
    row = {"prompt": "sky?", "chosen": [USER, BLUE], "rejected": [USER, GREEN]}
    assert to_preference(row, 0, render).prompt == "<user>sky?<assistant>"


def test_a_prompt_in_text_beside_answers_in_messages_is_the_question():
    row = {"prompt": "sky?", "chosen": [BLUE], "rejected": [GREEN]}
    assert to_preference(row, 0, render).prompt_chosen == "<user>sky?<assistant>blue"


EXPECTED = Preference(
    "<user>sky?<assistant>", "<user>sky?<assistant>blue", "<user>sky?<assistant>green", templated=True
)


@pytest.mark.parametrize("column", ["prompt", "messages", "conversations"])
def test_an_answer_to_a_conversation_is_a_message_or_a_list_of_them_or_text(column):
    for chosen, rejected in ((BLUE, GREEN), ([BLUE], [GREEN]), ("blue", "green"), (BLUE, "green")):
        assert to_preference({column: [USER], "chosen": chosen, "rejected": rejected}, 0, render) == EXPECTED


def test_sharegpt_rows_say_the_same_in_every_column():
    """LLaMA-Factory's preference rows, and the same words as `prompt` or as whole conversations."""
    blue, green = {"from": "gpt", "value": "blue"}, {"from": "gpt", "value": "green"}
    for row in (
        {"conversations": [HUMAN], "chosen": blue, "rejected": green},
        {"conversations": [HUMAN], "chosen": [blue], "rejected": [green]},
        {"prompt": [HUMAN], "chosen": blue, "rejected": green},
        {"prompt": "sky?", "chosen": blue, "rejected": green},
        {"chosen": [HUMAN, blue], "rejected": [HUMAN, green]},
        {"conversations": [HUMAN], "chosen": blue, "rejected": green, "system": ""},
    ):
        assert to_preference(row, 0, render) == EXPECTED


def test_the_system_text_of_a_sharegpt_row_comes_first_once():
    row = {"conversations": [HUMAN], **ANSWERS, "system": "be kind"}
    assert to_preference(row, 0, render).prompt == "<system>be kind<user>sky?<assistant>"
    own = row | {"conversations": [{"from": "system", "value": "be kind"}, HUMAN]}
    assert to_preference(own, 0, render).prompt == "<system>be kind<user>sky?<assistant>"
    with pytest.raises(DataError, match="row 0: 'system' is 'be rude', and the conversation begins with the system"):
        to_preference(own | {"system": "be rude"}, 0, render)


def test_a_conversation_that_two_whole_ones_repeat_gives_way_to_them():
    """UltraFeedback gives the chosen conversation once more as `messages`; others repeat the prompt in both."""
    whole = {"chosen": [USER, BLUE], "rejected": [USER, GREEN]}
    for beside in ({"messages": [USER, BLUE]}, {"messages": [USER]}, {"prompt": [USER]}):
        assert to_preference(whole | beside, 0, render) == EXPECTED


def test_a_prompt_column_that_a_columnar_file_filled_with_none_is_passed_over():
    row = {"prompt": None, "messages": [USER], "conversations": None, **ANSWERS}
    assert to_preference(row, 0, render) == EXPECTED


def test_tools_and_template_arguments_reach_the_template():
    row = {"prompt": [USER], "chosen": [BLUE], "rejected": [GREEN]}
    for tools in ([{"name": "f"}], '[{"name": "f"}]'):
        given = to_preference(row | {"tools": tools, "chat_template_kwargs": {"think": True, "more": None}}, 0, render)
        assert given.prompt == "tools=1 think=True <user>sky?<assistant>"
    assert to_preference(row | {"tools": [], "chat_template_kwargs": None}, 0, render).prompt[0] == "<"


def test_keys_that_a_columnar_file_filled_with_none_are_left_out_of_messages():
    seen = []

    def spy(messages, *_):
        seen.extend(messages)
        return "x"

    filled = {"role": "user", "content": "sky?", "tool_calls": None}
    to_preference({"prompt": [filled], "chosen": [BLUE], "rejected": [GREEN]}, 0, spy)
    assert seen[0] == USER


def test_shared_beginning_leaves_something_of_both():
    assert shared_beginning("a b", "a c") == 1
    assert shared_beginning([1, 2], [1, 2]) == 1
    assert shared_beginning("x", "y") == 0


TEXT = {"prompt": "p", "chosen": "c", "rejected": "r"}
ANSWERS = {"chosen": BLUE, "rejected": GREEN}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "p", "rejected": "r"}, r"row 5 has no 'chosen'. Its columns: 'prompt', 'rejected'\."),
        ({"prompt": "p", "choosen": "c", "rejected": "r"}, "Should 'choosen' be called 'chosen'?"),
        ({}, "Its columns: none"),
        (
            {"q": "p", "good": "c"},
            "A column of another name is told by --columns chosen=..., in Python columns={'chosen': ...}",
        ),
        (TEXT | {"prompt": ""}, "row 5: 'prompt' is empty"),
        (TEXT | {"chosen": 3}, r"row 5: 'chosen' is 3 \(int\); it must be text or a list"),
        (TEXT | {"chosen": ["c", "d"]}, "row 5: 'chosen' is a list of 2 texts; it must be one, or a list of messages"),
        (TEXT | {"chosen": [BLUE, "d"]}, "row 5: 'chosen' message 1 is text; a message is a dict"),
        (TEXT | {"chosen": [{"who": "gpt", "value": "c"}]}, "a dict with the keys 'who', 'value'; a message is"),
        (TEXT | {"chosen": [{"role": "user"}]}, "message 0: 'content' is None"),
        (TEXT | {"chosen": [BLUE]}, "row 5: 'chosen' is a list of dict and 'rejected' is text"),
        (ANSWERS | {"messages": "sky?"}, "row 5: 'messages' is text; it must be a list of messages, or be called"),
        (ANSWERS | {"messages": []}, "row 5: 'messages' is empty"),
        (ANSWERS | {"messages": None}, "row 5: 'messages' is None"),
        (ANSWERS | {"conversations": [HUMAN], "system": 3}, r"row 5: 'system' is 3 \(int\); it must be text"),
        ({"chosen": "c", "rejected": "r"}, "share no beginning that could be one. Add a 'prompt'"),
        ({"chosen": [USER, BLUE], "rejected": [GREEN]}, "share no first message"),
        ({"prompt": [USER], "chosen": [BLUE], "rejected": [GREEN], "tools": "{"}, "row 5: 'tools' is not JSON"),
        ({"prompt": [USER], "chosen": [BLUE], "rejected": [GREEN], "tools": 1}, r"'tools' is 1 \(int\)"),
        (
            {"prompt": [USER], "chosen": [BLUE], "rejected": [GREEN], "chat_template_kwargs": [1]},
            "'chat_template_kwargs' is a list of int; it must be a dict",
        ),
    ],
)
def test_a_row_that_cannot_be_read_names_itself_the_field_and_the_value(row, message):
    with pytest.raises(DataError, match=message):
        to_preference(row, 5, render)


def test_conversations_need_a_chat_template():
    with pytest.raises(DataError, match="row 2 holds conversations, which need a chat template"):
        to_preference({"prompt": [USER], "chosen": [BLUE], "rejected": [GREEN]}, 2)
