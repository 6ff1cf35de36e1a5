import json
from datetime import date, datetime, time
from decimal import Decimal

import pytest

from easydel.data.contents import text_of
from easydel.data.messages import ROLES, listed, read_messages, read_tools
from easydel.data.values import written_out
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


@pytest.mark.parametrize(
    ("text", "alike"),
    [
        ('[{"id": 1, "role": "user", "content": "a"}]', True),
        ('"[{\\"role\\": \\"user\\", \\"content\\": \\"a\\"}]"', True),  # JSON text of JSON text
        ('{"messages": [{"role": "user", "content": "a"}]}', True),
        ("[{'content': 'a', 'role': 'user'}\n {'content': 'a', 'role': 'user'}]", True),  # as numpy writes an array
        ("array([{'content': array(['a'], dtype=object), 'role': 'user'}],\n      dtype=object)", True),
        ('{"role": "engineer", "name": "Bo"}', False),
        ('{"from": "Oslo", "to": "Rome"}', False),
        ('{"content": "a"', False),
        ("[1, 2]", False),
    ],
)
def test_text_that_spells_messages_out_is_told_from_any_other(text, alike):
    found = written_out(text, "row 0")
    assert (found is not None) == alike
    if found is not None:
        assert {message["content"] for message in read_messages(listed(found.value), "row 0")} == {"a"}


def test_nulls_of_text_are_meant_in_json_and_those_of_a_struct_in_python():
    call = {"name": "f", "arguments": {"city": "Oslo", "unit": None}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    for text, given in ((json.dumps(message), {"city": "Oslo", "unit": None}), (str(message), {"city": "Oslo"})):
        read = read_messages([text], "row 0")
        assert read[0]["tool_calls"][0]["function"]["arguments"] == given


def test_an_array_that_numpy_cut_short_is_refused():
    with pytest.raises(DataError, match="row 0 begins like a list of messages, "):
        written_out("[{'role': 'user', 'content': 'a'} ... {'role': 'user', 'content': 'b'}]", "row 0")


def test_parts_that_think_or_refuse_are_the_thought_and_the_answer():
    thought = [{"type": "thinking", "thinking": [{"type": "text", "text": "h"}, {"type": "text", "text": "m"}]}]
    for content in (
        [{"type": "thinking", "thinking": "hm", "text": None}, {"type": "text", "text": "4", "thinking": None}],
        [*thought, {"type": "text", "text": "4"}],
    ):
        read = read_messages([{"role": "assistant", "content": content}], "row 0")
        assert read == [{"role": "assistant", "content": "4", "reasoning_content": "hm"}]
    unthought = [{"type": "thinking", "thinking": None}, {"type": "text", "text": "4"}]
    assert read_messages([{"role": "assistant", "content": unthought}], "r") == [{"role": "assistant", "content": "4"}]
    for refusing in ({"content": None, "refusal": "No."}, {"content": [{"type": "refusal", "refusal": "No."}]}):
        assert read_messages([{"role": "assistant", **refusing}], "r") == [{"role": "assistant", "content": "No."}]


def test_what_a_tool_gave_back_is_text_or_the_json_of_its_value():
    for given, text in (
        ("4", "4"),
        (4, "4"),
        ({"degrees": 4, "wind": None}, '{"degrees": 4}'),
        ([{"city": "Ås"}, 1], '[{"city": "Ås"}, 1]'),
        ([{"type": "text", "text": "4"}], "4"),
        ('{"degrees": 4}', '{"degrees": 4}'),
    ):
        assert read_messages([{"role": "tool", "content": given}], "r") == [{"role": "tool", "content": text}]


@pytest.mark.parametrize("switch", [{"weight": 0}, {"weight": 0.0}, {"train": False}, {"training": False}, {"loss": 0}])
def test_an_answer_that_is_not_to_be_trained_says_so(switch):
    answer = {"role": "assistant", "content": "a"}
    assert read_messages([answer | switch], "r") == [answer | {"loss": False}]
    assert read_messages([answer | {"weight": 1, "train": True, "loss": None}], "r") == [answer]


def test_content_in_parts_is_the_text_of_the_parts():
    for parts in (
        [{"type": "text", "text": "a b"}],
        [{"type": "text", "text": "a", "image": None}, {"type": "output_text", "text": " b"}],
        ["a", " b"],
        {"type": "text", "text": "a b"},
        {"text": "a b"},
        '[{"type": "text", "text": "a"}, {"type": "text", "text": " b"}]',
        [{"type": "text", "text": "a b"}, {"type": None, "text": None}],
    ):
        assert text_of(parts, "row 0") == "a b"


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
    ("message", "complaint"),
    [
        ({"from": "humn", "value": "x"}, "message 1: the role 'humn' is not one of 'user', 'human', .*Did you mean"),
        ({"role": "critic", "content": "x"}, "the role 'critic' is not one of"),
        ({"from": ["x"], "value": "x"}, r"the role \['x'\] is not one of"),
        ({"role": "user", "from": "gpt", "value": "x"}, "'role' is 'user' and 'from' is 'gpt'. Keep one"),
        ({"role": "user", "content": "x", "value": "y"}, "'content' and 'value' differ"),
        ({"from": "human", "value": None}, "message 1: 'value' is None; it must be text"),
        ({"role": "assistant", "says": "x"}, "'content' is None; .* The keys of the message: 'role', 'says'"),
        ({"speaker": "Bob", "text": "x"}, "message 1 is a dict with the keys 'speaker', 'text'; a message is"),
        ({"from": "function_call", "value": "call f"}, "the value of a function_call is not JSON .* 'name' and"),
        ({"from": "function_call", "value": "[3]"}, r"the function_call holds 3 \(int\). It must be a JSON object"),
        ({"role": "assistant", "tool_calls": [{"function": {"f": 1}}]}, "'tool_calls' holds a dict with the keys"),
        (
            {"role": "assistant", "tool_calls": [{"name": "f", "arguments": "Oslo"}]},
            "'arguments' 'Oslo' is not JSON .* Give a dict, or JSON text of one",
        ),
        ("x", "message 1 is text"),
        ({"role": [None], "content": "x"}, "message 1 is a dict with the keys .role., .content.; a message is"),
        (
            {"role": "assistant", "content": "x", "weight": 0.5},
            r"'weight' is 0.5 \(float\); it must be 1 or true, or 0",
        ),
        (
            {"role": "assistant", "content": [{"type": "text", "text": "x"}, {"type": "thinking", "thinking": "y"}]},
            "'content' part 1 is of type 'thinking'; only parts of text",
        ),
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
