import pytest

from easydel.data.messages import read_messages
from easydel.errors import DataError


@pytest.mark.parametrize(
    ("name", "role"),
    [("human", "user"), ("gpt", "assistant"), ("system", "system"), ("tool", "tool"), ("observation", "tool")],
)
def test_the_roles_of_sharegpt_are_those_of_chat_templates(name, role):
    assert read_messages([{"from": name, "value": "x", "weight": None}], "row 0") == [{"role": role, "content": "x"}]


def test_a_function_call_is_an_assistant_message_with_tool_calls():
    call = {"name": "weather", "arguments": {"city": "Oslo"}}
    for value in (
        '{"name": "weather", "arguments": {"city": "Oslo"}}',
        '[{"name": "weather", "arguments": {"city": "Oslo"}}]',
    ):
        assert read_messages([{"from": "function_call", "value": value}], "row 0") == [
            {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": call}]}
        ]


def test_messages_with_roles_are_kept_with_all_that_they_hold():
    message = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f"}}], "name": None}
    assert read_messages([message], "row 0") == [{key: message[key] for key in ("role", "content", "tool_calls")}]


@pytest.mark.parametrize(
    ("message", "complaint"),
    [
        (
            {"from": "humn", "value": "x"},
            "message 1: the role 'humn' is not one of 'human', 'user', 'gpt', .*Did you mean",
        ),
        ({"from": "bing", "value": "x"}, "the role 'bing' is not one of 'human'.*'function_call'"),
        ({"from": ["x"], "value": "x"}, r"the role \['x'\] is not one of"),
        ({"from": "gpt", "value": None}, "message 1: 'value' is None; it must be text"),
        ({"from": "gpt", "content": "x"}, "'value' is None"),
        (
            {"from": "function_call", "value": "call f"},
            "message 1: the value of a function_call is not JSON .* 'name' and",
        ),
        ({"from": "function_call", "value": "[3]"}, r"the function_call holds 3 \(int\). It must be a JSON object"),
        (
            {"role": 3, "content": "x"},
            r"message 1 is a dict with the keys 'role', 'content'; .*ShareGPT: 'from' and 'value'",
        ),
        ("x", "message 1 is text"),
        ({"role": "user", "content": 3}, r"'content' is 3 \(int\); it must be text"),
    ],
)
def test_a_message_that_cannot_be_read_names_its_place_and_its_key(message, complaint):
    with pytest.raises(DataError, match=f"row 5: 'chosen' .*{complaint}"):
        read_messages([{"role": "user", "content": "hi"}, message], "row 5: 'chosen'")
