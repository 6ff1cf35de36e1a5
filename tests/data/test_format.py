import pytest

from easydel.data.format import columns_of, read_row
from easydel.data.render import Preference, to_preference
from easydel.errors import DataError
from oracles.tokenizers import tiny_tokenizer

pytestmark = pytest.mark.quick

USER = {"role": "user", "content": "sky?"}
BLUE = {"role": "assistant", "content": "blue"}
GREEN = {"role": "assistant", "content": "green"}
HUMAN = {"from": "human", "value": "sky?"}


TOKENIZER = tiny_tokenizer(
    chat_template="{% if tools %}tools={{ tools | length }} {% endif %}{% if think %}think={{ think }} {% endif %}"
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


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
    assert to_preference(row, 0, TOKENIZER) == to_preference(explicit, 0, TOKENIZER) == expected


def test_a_prompt_in_text_beside_whole_conversations_gives_way_to_them():
    row = {"prompt": "sky?", "chosen": [USER, BLUE], "rejected": [USER, GREEN]}
    assert to_preference(row, 0, TOKENIZER).prompt == "<user>sky?<assistant>"


def test_a_prompt_in_text_beside_answers_in_messages_is_the_question():
    row = {"prompt": "sky?", "chosen": [BLUE], "rejected": [GREEN]}
    assert to_preference(row, 0, TOKENIZER).prompt_chosen == "<user>sky?<assistant>blue"


EXPECTED = Preference(
    "<user>sky?<assistant>", "<user>sky?<assistant>blue", "<user>sky?<assistant>green", templated=True
)


@pytest.mark.parametrize("column", ["prompt", "messages", "conversations"])
def test_an_answer_to_a_conversation_is_a_message_or_a_list_of_them_or_text(column):
    for chosen, rejected in ((BLUE, GREEN), ([BLUE], [GREEN]), ("blue", "green"), (BLUE, "green")):
        assert to_preference({column: [USER], "chosen": chosen, "rejected": rejected}, 0, TOKENIZER) == EXPECTED


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
        assert to_preference(row, 0, TOKENIZER) == EXPECTED


def test_the_system_text_of_a_sharegpt_row_comes_first_once():
    row = {"conversations": [HUMAN], **ANSWERS, "system": "be kind"}
    assert to_preference(row, 0, TOKENIZER).prompt == "<system>be kind<user>sky?<assistant>"
    own = row | {"conversations": [{"from": "system", "value": "be kind"}, HUMAN]}
    assert to_preference(own, 0, TOKENIZER).prompt == "<system>be kind<user>sky?<assistant>"
    with pytest.raises(DataError, match="row 0: 'system' is 'be rude', but the conversation begins with the system"):
        to_preference(own | {"system": "be rude"}, 0, TOKENIZER)


def test_a_conversation_that_two_whole_ones_repeat_gives_way_to_them():
    """UltraFeedback gives the chosen conversation once more as `messages`; others repeat the prompt in both."""
    whole = {"chosen": [USER, BLUE], "rejected": [USER, GREEN]}
    for beside in ({"messages": [USER, BLUE]}, {"messages": [USER]}, {"prompt": [USER]}):
        assert to_preference(whole | beside, 0, TOKENIZER) == EXPECTED


def test_a_prompt_column_that_a_columnar_file_filled_with_none_is_passed_over():
    row = {"prompt": None, "messages": [USER], "conversations": None, **ANSWERS}
    assert to_preference(row, 0, TOKENIZER) == EXPECTED


def test_tools_and_template_arguments_reach_the_template():
    row = {"prompt": [USER], "chosen": [BLUE], "rejected": [GREEN]}
    for tools in ([{"name": "f"}], '[{"name": "f"}]'):
        given = row | {"tools": tools, "chat_template_kwargs": {"think": True, "more": None}}
        assert to_preference(given, 0, TOKENIZER).prompt == "tools=1 think=True <user>sky?<assistant>"
    assert to_preference(row | {"tools": [], "chat_template_kwargs": None}, 0, TOKENIZER).prompt[0] == "<"


def test_keys_that_a_columnar_file_filled_with_none_are_left_out_of_messages():
    filled = {"role": "user", "content": "sky?", "tool_calls": None}
    assert read_row({"prompt": [filled], **ANSWERS}, 0).prompt == [USER]


TEXT = {"prompt": "p", "chosen": "c", "rejected": "r"}
ANSWERS = {"chosen": BLUE, "rejected": GREEN}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "p", "rejected": "r"}, r"row 5 has no 'chosen'. Its columns: 'prompt', 'rejected'\."),
        (
            {"prompt": "p", "choosen": "c", "rejected": "r"},
            "If another column holds it, use --columns chosen=choosen, in Python columns={'chosen': 'choosen'}",
        ),
        ({}, r"Its columns: \(none\)"),
        (
            {"q": "p", "good": "c"},
            "If another column holds it, use --columns chosen=..., in Python columns={'chosen': '...'}",
        ),
        (TEXT | {"prompt": ""}, "row 5: 'prompt' is empty"),
        (TEXT | {"chosen": 3}, r"row 5: 'chosen' is 3 \(int\); it must be a string or a list"),
        (TEXT | {"chosen": ["c", "d"]}, "row 5: 'chosen' is a list of 2 strings; it must be one string, or messages"),
        (TEXT | {"chosen": [BLUE, "d"]}, "row 5: 'chosen' message 1 is a string; a message is a dict"),
        (TEXT | {"chosen": [{"who": "gpt", "value": "c"}]}, "a dict with the keys 'who', 'value'; a message is"),
        (TEXT | {"chosen": [{"role": "user"}]}, "message 0: 'content' is None"),
        (TEXT | {"chosen": [BLUE]}, "row 5: 'chosen' is a list of dict, but 'rejected' is a string"),
        (
            ANSWERS | {"messages": "sky?"},
            "row 5: 'messages' is a string; it must be a list of messages.* --columns prompt=messages",
        ),
        (ANSWERS | {"messages": []}, "row 5: 'messages' is empty"),
        (ANSWERS | {"messages": None}, "row 5: 'messages' is None"),
        (ANSWERS | {"conversations": [HUMAN], "system": 3}, r"row 5: 'system' is 3 \(int\); it must be a string"),
        (
            {"chosen": "c", "rejected": "r"},
            "there is no prompt column, and 'chosen' and 'rejected' have no common beginning .* Add a 'prompt'",
        ),
        ({"chosen": [USER, BLUE], "rejected": [GREEN]}, "have no first message in common"),
        ({"prompt": [USER], "chosen": [BLUE], "rejected": [GREEN], "tools": "{"}, "row 5: 'tools' is not JSON"),
        ({"prompt": [USER], "chosen": [BLUE], "rejected": [GREEN], "tools": 1}, r"'tools' is 1 \(int\)"),
        (
            {"prompt": [USER], "chosen": [BLUE], "rejected": [GREEN], "chat_template_kwargs": [1]},
            "'chat_template_kwargs' is a list of int. It must be a dict",
        ),
    ],
)
def test_a_row_that_cannot_be_read_names_itself_the_field_and_the_value(row, message):
    with pytest.raises(DataError, match=message):
        to_preference(row, 5, TOKENIZER)


def test_conversations_need_a_chat_template():
    with pytest.raises(DataError, match="row 2 holds conversations, which need a chat template"):
        to_preference({"prompt": [USER], "chosen": [BLUE], "rejected": [GREEN]}, 2)


TEXTS = {"chosen": "blue", "rejected": "red"}


def test_the_columns_of_a_row_are_those_used_and_those_left_alone():
    assert columns_of({"id": 1, "system": "x", "question": "sky?", **TEXTS, "margin": 2, "weight": None}) == (
        ("system", "question", "chosen", "rejected", "margin"),
        ("id", "weight"),
    )
    ids = {"prompt_ids": [1], "chosen_ids": [2], "rejected_ids": [3], "chosen_mask": [1], "prompt": "x", "weight": 2}
    assert columns_of(ids) == (("prompt_ids", "chosen_ids", "rejected_ids", "chosen_mask", "weight"), ("prompt",))
