"""The columns beside a prompt: system, history, tools, arguments of the template."""

import pytest

from easydel.data.format import read_row
from easydel.data.prompt_context import PromptContext, read_prompt_context, turns_of
from easydel.errors import DataError

ANSWERS = {"chosen": "blue", "rejected": "red"}


def test_an_instruction_is_followed_by_its_input_and_preceded_by_its_history():
    row = {"instruction": "Translate:", "input": "sky", "history": [["hi", "hello"]], **ANSWERS}
    turns = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]
    for history in ([["hi", "hello"]], '[["hi", "hello"]]', turns):
        said = read_row(row | {"history": history}, 0)
        assert said.prompt == [*turns, {"role": "user", "content": "Translate:\nsky"}]


def test_columns_that_are_empty_give_an_empty_context():
    for empty in (None, "", [], {}):
        assert read_prompt_context(empty, empty, empty, None, "row 0") == PromptContext()
    assert not any(PromptContext())


def test_a_system_prompt_may_be_a_string_a_message_or_several():
    for system in ("Be kind.", {"role": "system", "content": "Be kind."}, [{"role": "system", "content": "Be kind."}]):
        assert read_prompt_context(system, None, None, None, "row 0").system == "Be kind."
    two = [{"role": "system", "content": "Be kind."}, {"from": "system", "value": "Be short."}]
    assert read_prompt_context(two, None, None, None, "row 0").system == "Be kind.\n\nBe short."


def test_turns_are_messages_under_each_of_their_names():
    for user, model in (("input", "output"), ("question", "answer"), ("user", "assistant"), ("human", "assistant")):
        turns = [{user: "Hi", model: "Ho"}, {user: "sky?", model: None}]
        roles = [(message["role"], message["content"]) for message in turns_of(turns)]
        assert roles == [("user", "Hi"), ("assistant", "Ho"), ("user", "sky?")]
    for other in ([{"role": "user", "content": "Hi"}], [{"input": "Hi"}], "Hi", []):
        assert turns_of(other) is other


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("system", 3, r"'system' is 3 \(int\); it must be a string"),
        ("history", "hi", r"'history' is a string. It must be a list of \[user, assistant\] pairs"),
        ("history", [["hi", 3]], "'history' 0 is a list of str. It must be"),
        ("tools", 3, "'tools' is 3"),
        ("options", [1], "'chat_template_kwargs' is a list of int. It must be a dict"),
        ("options", "{", "'chat_template_kwargs' is not JSON .* It must be a dict"),
    ],
)
def test_a_column_of_another_type_is_named(column, value, words):
    given = {"system": None, "history": None, "tools": None, "options": None, column: value}
    with pytest.raises(DataError, match=f"row 0: {words}"):
        read_prompt_context(**given, where="row 0")


def test_arguments_of_the_template_may_be_json_and_their_nulls_are_not_set():
    for options in ({"think": True, "more": None}, '{"think": true, "more": null}'):
        assert read_prompt_context(None, None, None, options, "row 0").options == {"think": True}
