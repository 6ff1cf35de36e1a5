"""Contents of messages: strings, parts, thoughts, results of tools."""

import re

import pytest

from easydel.data.message_content import kind, result_of, text_of, without_thoughts
from easydel.data.messages import read_messages
from easydel.errors import DataError


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


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("a", "a string"),
        ({}, r"a dict with the keys \(none\)"),
        ([], "an empty list"),
        ([{"a": 1}], "a list of dict"),
        (None, "None"),
        (0.5, r"0.5 \(float\)"),
        ("x" * 90, "a string"),
    ],
)
def test_an_error_calls_a_value_by_its_type(value, words):
    assert re.fullmatch(words, kind(value))


def test_thoughts_in_front_are_taken_out_and_those_behind_are_not():
    thought, text = {"type": "reasoning", "text": "hm"}, {"type": "text", "text": "4"}
    assert without_thoughts([thought, thought, text], "row 0") == ([text], "hmhm")
    assert without_thoughts([text, thought], "row 0") == ([text, thought], "")
    with pytest.raises(DataError, match=r"row 0: 'content' part 0 is 3 \(int\); it must be a string"):
        without_thoughts([{"type": "thinking", "thinking": 3}], "row 0: 'content'")


def test_a_result_that_json_cannot_hold_is_an_error():
    with pytest.raises(DataError, match=r"row 0: 'content': 'day' is .* which JSON cannot hold"):
        result_of({"day": b"x"}, "row 0: 'content'")
