import json
from datetime import date, datetime, time
from decimal import Decimal

import pytest

from easydel.data.messages import ROLES, listed, read_messages, read_tools
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
        {"role": "assistant", "content": "", "tool_calls": {"type": ["function"], "function": [CALL["function"]]}},
        {"role": "assistant", "tool_calls": {"function": {"name": ["weather"], "arguments": ['{"city": "Oslo"}']}}},
        {"role": "assistant", "tool_calls": [{"name": "weather", "arguments": [["city", "Oslo"]]}]},  # a map of Arrow
        {"from": "function-call", "value": '{"name": "weather", "arguments": {"city": "Oslo"}}', "weight": 1},
        json.dumps(CALLING),
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


def test_messages_are_read_from_lists_of_what_each_says_and_without_those_that_say_nothing():
    said = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "", "tool_calls": [CALL]}]
    calls = {"function": {"name": ["weather"], "arguments": [{"city": "Oslo"}]}}
    for value in (
        {"role": ["user", "assistant"], "content": ["a", ""], "tool_calls": [None, [CALL]], "name": None},
        {"from": ["human", "gpt"], "value": ["a", None], "tool_calls": [None, calls]},
        {"messages": said, "id": None},
        [said[0], None, {"role": None, "content": None}, said[1]],
    ):
        assert read_messages(listed(value), "row 0") == said


def test_nulls_of_text_are_meant_in_json_and_those_of_a_struct_in_python():
    call = {"name": "f", "arguments": {"city": "Oslo", "unit": None}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    for text, given in ((json.dumps(message), {"city": "Oslo", "unit": None}), (str(message), {"city": "Oslo"})):
        read = read_messages([text], "row 0")
        assert read[0]["tool_calls"][0]["function"]["arguments"] == given


@pytest.mark.parametrize("switch", [{"weight": 0}, {"weight": 0.0}, {"train": False}, {"training": False}, {"loss": 0}])
def test_an_answer_that_is_not_to_be_trained_says_so(switch):
    answer = {"role": "assistant", "content": "a"}
    assert read_messages([answer | switch], "r") == [answer | {"loss": False}]
    assert read_messages([answer | {"weight": 1, "train": True, "loss": None}], "r") == [answer]


def test_the_schemas_of_tools_are_wrapped_once_and_lose_the_nulls_of_structs():
    schema = {"name": "f", "parameters": {"type": "object", "properties": {"x": {"type": "string"}}}}
    filled = {"name": "f", "parameters": {"type": "object", "properties": {"x": {"type": "string"}, "y": None}}}
    wrapped = [{"type": "function", "function": schema}]
    for tools in (wrapped, [schema], [schema | {"type": "function"}], [filled], json.dumps([schema]), schema):
        assert read_tools(tools, "row 0: 'tools'") == wrapped
    assert read_tools([json.dumps(schema)], "row 0: 'tools'") == wrapped
    assert read_tools('[{"name": "f", "default": null}]', "t")[0]["function"] == {"name": "f", "default": None}
    assert read_tools([{"type": "code_interpreter"}], "t") == [{"type": "code_interpreter"}]
    for nothing in ("[]", "", " ", "null", "{}", [], {}, [None], {"type": None}, [{"function": {"name": None}}]):
        assert read_tools(nothing, "t") is None
    assert read_tools({"type": ["function"], "function": [schema]}, "t") == wrapped
    assert read_tools([{"name": "f", "input_schema": schema["parameters"]}], "t") == wrapped  # Anthropic


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ({"from": "humn", "value": "x"}, "message 1: the role 'humn' is not one of 'user', 'human', .*Did you mean"),
        ({"role": "critic", "content": "x"}, "the role 'critic' is not one of"),
        ({"from": ["x"], "value": "x"}, r"the role \['x'\] is not one of"),
        ({"role": "user", "from": "gpt", "value": "x"}, "'role' is 'user' and 'from' is 'gpt'. Keep one"),
        ({"role": "user", "content": "x", "value": "y"}, "'content' and 'value' differ"),
        ({"from": "human", "value": None}, "message 1: 'value' is None; it must be a string"),
        ({"role": "assistant", "says": "x"}, "'content' is None; .* The keys of the message: 'role', 'says'"),
        ({"speaker": "Bob", "text": "x"}, "message 1 is a dict with the keys 'speaker', 'text'; a message is"),
        ({"from": "function_call", "value": "call f"}, "the value of a function_call is not JSON .* 'name' and"),
        ({"from": "function_call", "value": "[3]"}, r"the function_call holds 3 \(int\). It must be a JSON object"),
        ({"role": "assistant", "tool_calls": [{"function": {"f": 1}}]}, "'tool_calls' holds a dict with the keys"),
        (
            {"role": "assistant", "tool_calls": [{"name": "f", "arguments": "Oslo"}]},
            "'arguments' 'Oslo' is not JSON .* Give a dict, or a JSON string of one",
        ),
        ("x", "message 1 is a string"),
        ({"role": [None], "content": "x"}, "message 1 is a dict with the keys .role., .content.; a message is"),
        (
            {"role": "assistant", "content": "x", "weight": 0.5},
            r"'weight' is 0.5 \(float\); it must be 1 or true, or 0",
        ),
        (
            {"role": "assistant", "content": [{"type": "text", "text": "x"}, {"type": "thinking", "thinking": "y"}]},
            "'content' part 1 is of type 'thinking'; only text can be trained on, as parts",
        ),
        ({"role": "user", "content": 3}, r"'content' is 3 \(int\); it must be a string"),
        (
            {"role": "user", "content": [{"type": "image"}]},
            "'content' part 0 is of type 'image'; only text can be trained on, as parts",
        ),
        (
            {"role": "user", "content": ["a", 3]},
            r"'content' part 1 is 3 \(int\); only text can be trained on, as parts",
        ),
        ({"role": "user", "content": "a", "images": ["x.png"]}, "holds 'images'; only text can be trained on"),
    ],
)
def test_a_message_that_cannot_be_read_names_its_place_and_its_key(message, words):
    with pytest.raises(DataError, match=f"row 5: 'chosen' .*{words}"):
        read_messages([{"role": "user", "content": "hi"}, message], "row 5: 'chosen'")


@pytest.mark.parametrize("value", [date(2024, 1, 1), datetime(2024, 1, 1), time(9), Decimal("1.5"), b"x"])
def test_an_argument_or_a_schema_that_json_cannot_hold_is_refused(value):
    call = {"function": {"name": "f", "arguments": {"where": [{"day": value}]}}}
    with pytest.raises(DataError, match=r"'arguments': 'where': 'day' is .* which JSON cannot hold"):
        read_messages([{"role": "assistant", "tool_calls": [call]}], "row 0")
    with pytest.raises(DataError, match=r"'tools' 0: 'default' is .* which JSON cannot hold"):
        read_tools([{"name": "f", "default": value}], "row 0: 'tools'")
    noted = {"role": "user", "content": "x", "timestamp": value}  # which a template does not write
    assert read_messages([noted], "row 0") == [noted]
