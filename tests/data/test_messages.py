from datetime import date, datetime, time
from decimal import Decimal

import pytest

from easydel.data.messages import ROLES, read_messages, read_tools, text_of
from easydel.errors import DataError

CALL = {"type": "function", "function": {"name": "weather", "arguments": {"city": "Oslo"}}}
CALLING = {"role": "assistant", "content": "", "tool_calls": [CALL]}


@pytest.mark.parametrize("key", ["role", "from"])
@pytest.mark.parametrize("text", ["content", "value"])
@pytest.mark.parametrize(("role", "name"), [(role, name) for role, names in ROLES.items() for name in names])
def test_every_name_of_a_role_is_that_of_chat_templates_under_either_key(key, text, role, name):
    if name in ("function_call", "tool_call"):
        pytest.skip("its content is a call")
    for spelt in (name, name.upper(), name.capitalize()):
        assert read_messages([{key: spelt, text: "x", "weight": None}], "row 0") == [{"role": role, "content": "x"}]


@pytest.mark.parametrize(
    "message",
    [
        {"from": "function_call", "value": '{"name": "weather", "arguments": {"city": "Oslo"}}'},
        {"from": "function_call", "value": '[{"name": "weather", "arguments": {"city": "Oslo"}}]'},
        {"role": "tool_call", "content": '{"name": "weather", "arguments": "{\\"city\\": \\"Oslo\\"}"}'},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "assistant", "tool_calls": [CALL]},
        {"role": "assistant", "content": "", "tool_calls": [CALL["function"]]},
        {"role": "assistant", "content": [], "tool_calls": [{"function": CALL["function"]}]},
        {"role": "assistant", "content": None, "function_call": CALL["function"], "tool_calls": None},
        {"role": "assistant", "content": "", "function_call": {"name": "weather", "arguments": '{"city": "Oslo"}'}},
        {"role": "assistant", "tool_calls": '[{"function": {"name": "weather", "arguments": {"city": "Oslo"}}}]'},
        {"role": "assistant", "tool_calls": [{"name": "weather", "parameters": {"city": "Oslo"}}]},
        {"role": "assistant", "tool_calls": [{"name": "weather", "arguments": '"{\\"city\\": \\"Oslo\\"}"'}]},
        {"role": "assistant", "tool_calls": [{"name": "weather", "arguments": {"city": "Oslo", "symbol": None}}]},
        {"role": "assistant", "tool_calls": [CALL | {"id": None}], "name": "", "reasoning_content": ""},
    ],
)
def test_a_call_is_the_same_in_every_form_it_is_written_in(message):
    assert read_messages([message], "row 0") == [CALLING]


def test_the_nulls_of_json_text_are_meant_and_those_of_a_struct_are_arrows():
    def arguments(value):
        return read_messages([{"role": "assistant", "tool_calls": [{"name": "f", "arguments": value}]}], "r")[0][
            "tool_calls"
        ][0]["function"]["arguments"]

    assert arguments('{"x": null, "y": [{"z": null}]}') == {"x": None, "y": [{"z": None}]}
    assert arguments({"x": None, "y": [{"z": None, "w": 1}, None]}) == {"y": [{"w": 1}, None]}
    assert arguments(None) == arguments("") == arguments({}) == arguments("{}") == {}


def test_messages_are_kept_with_all_that_they_hold():
    message = {"role": "assistant", "content": "4", "reasoning_content": "2 + 2", "tool_call_id": "7", "name": None}
    assert read_messages([message], "row 0") == [{key: message[key] for key in message if key != "name"}]
    assert read_messages([{"role": "assistant", "content": None, "thinking": "hm"}], "row 0") == [
        {"role": "assistant", "content": "", "thinking": "hm"}
    ]


def test_content_in_parts_is_the_text_of_the_parts():
    for parts in (
        [{"type": "text", "text": "a b"}],
        [{"type": "text", "text": "a", "image": None}, {"type": "output_text", "text": " b"}],
        ["a", " b"],
        {"type": "text", "text": "a b"},
        {"text": "a b"},
    ):
        assert text_of(parts, "row 0") == "a b"


def test_the_schemas_of_tools_are_wrapped_once_and_lose_the_nulls_of_structs():
    schema = {"name": "f", "parameters": {"type": "object", "properties": {"x": {"type": "string"}}}}
    filled = {"name": "f", "parameters": {"type": "object", "properties": {"x": {"type": "string"}, "y": None}}}
    wrapped = [{"type": "function", "function": schema}]
    import json

    for tools in (wrapped, [schema], [schema | {"type": "function"}], [filled], json.dumps([schema]), schema):
        assert read_tools(tools, "row 0: 'tools'") == wrapped
    assert read_tools([json.dumps(schema)], "row 0: 'tools'") == wrapped
    assert read_tools('[{"name": "f", "default": null}]', "t")[0]["function"] == {"name": "f", "default": None}
    assert read_tools([{"type": "code_interpreter"}], "t") == [{"type": "code_interpreter"}]
    assert read_tools("[]", "t") is None


@pytest.mark.parametrize(
    ("message", "complaint"),
    [
        ({"from": "humn", "value": "x"}, "message 1: the role 'humn' is not one of 'user', 'human', .*Did you mean"),
        ({"role": "critic", "content": "x"}, "the role 'critic' is not one of"),
        ({"from": ["x"], "value": "x"}, r"the role \['x'\] is not one of"),
        ({"role": "user", "from": "gpt", "value": "x"}, "'role' is 'user' and 'from' is 'gpt'. Keep one"),
        ({"role": "user", "content": "x", "value": "y"}, "'content' and 'value' differ"),
        ({"from": "human", "value": None}, "message 1: 'value' is None; it must be text"),
        ({"role": "assistant", "text": "x"}, "'content' is None; .* The keys of the message: 'role', 'text'"),
        ({"speaker": "Bob", "text": "x"}, "message 1 is a dict with the keys 'speaker', 'text'; a message is"),
        ({"from": "function_call", "value": "call f"}, "the value of a function_call is not JSON .* 'name' and"),
        ({"from": "function_call", "value": "[3]"}, r"the function_call holds 3 \(int\). It must be a JSON object"),
        ({"role": "assistant", "tool_calls": [{"function": {}}]}, "'tool_calls' holds a dict with the keys"),
        (
            {"role": "assistant", "tool_calls": [{"name": "f", "arguments": "Oslo"}]},
            "'arguments' 'Oslo' is not JSON .* Give a dict, or JSON text of one",
        ),
        ("x", "message 1 is text"),
        ({"role": "user", "content": 3}, r"'content' is 3 \(int\); it must be text"),
        ({"role": "user", "content": [{"type": "image"}]}, "'content' part 0 is of type 'image'; only parts of text"),
        ({"role": "user", "content": ["a", 3]}, r"'content' part 1 is 3 \(int\); only parts of text"),
        ({"role": "user", "content": "a", "images": ["x.png"]}, "holds 'images'; only text can be trained on"),
    ],
)
def test_a_message_that_cannot_be_read_names_its_place_and_its_key(message, complaint):
    with pytest.raises(DataError, match=f"row 5: 'chosen' .*{complaint}"):
        read_messages([{"role": "user", "content": "hi"}, message], "row 5: 'chosen'")


@pytest.mark.parametrize("value", [date(2024, 1, 1), datetime(2024, 1, 1), time(9), Decimal("1.5"), b"x"])
def test_an_argument_or_a_schema_that_json_has_no_word_for_is_refused(value):
    call = {"function": {"name": "f", "arguments": {"where": [{"day": value}]}}}
    with pytest.raises(DataError, match=r"'arguments': 'where': 'day' is .* which JSON has no word for"):
        read_messages([{"role": "assistant", "tool_calls": [call]}], "row 0")
    with pytest.raises(DataError, match=r"'tools' 0: 'default' is .* which JSON has no word for"):
        read_tools([{"name": "f", "default": value}], "row 0: 'tools'")
    noted = {"role": "user", "content": "x", "timestamp": value}  # which a template does not write
    assert read_messages([noted], "row 0") == [noted]
