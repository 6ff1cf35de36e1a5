"""Values of rows as plain Python, whatever library made them."""

from datetime import date

import numpy as np
import pandas
import pytest

from easydel.data.messages import listed, read_messages
from easydel.data.plain_values import (
    as_dicts,
    check_json,
    conversation_in,
    from_json,
    is_void,
    not_string_hint,
    plain,
    rows_of,
    written_out,
)
from easydel.errors import DataError


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


def test_an_array_that_numpy_cut_short_is_refused():
    with pytest.raises(DataError, match="row 0 looks like a list of messages, "):
        written_out("[{'role': 'user', 'content': 'a'} ... {'role': 'user', 'content': 'b'}]", "row 0")


def test_arrays_numbers_of_numpy_and_missing_values_become_those_of_python():
    given = {"a": np.array([[1, 2]]), "b": np.float32(0.5), "c": float("nan"), "d": pandas.NA, "e": (pandas.NaT, "x")}
    assert plain(given, "row 0") == {"a": [[1, 2]], "b": 0.5, "c": None, "d": None, "e": [None, "x"]}
    assert type(plain(np.int64(3), "row 0")) is int
    assert plain(np.array(["a", None], dtype=object), "row 0") == ["a", None]


def test_half_of_a_surrogate_pair_is_an_error_that_says_where_it_stands():
    with pytest.raises(
        DataError, match=r"row 0 holds half of a surrogate pair, '\\ud83d' at character 1, .*not valid Unicode"
    ):
        plain(["a\ud83d"], "row 0")
    with pytest.raises(DataError, match="row 0: a key holds half"):
        plain({"\ud83d": 1}, "row 0")


def test_what_json_cannot_hold_is_found_at_any_depth():
    given = {"a": [{"b": 1.5, "c": None}, "x"]}
    assert check_json(given, "row 0") is given
    with pytest.raises(
        DataError, match=r"row 0: 'a': 'b' is .* \(date\), which JSON cannot hold.* pass features= to load"
    ):
        check_json({"a": [{"b": date(2026, 11, 28)}]}, "row 0")


def test_a_hint_is_given_for_values_that_readers_make_of_strings():
    assert "datasets.load_dataset" in not_string_hint(date(2026, 11, 28))
    assert "CSV or JSON reader" in not_string_hint(42)
    assert not_string_hint([]) == ""


def test_a_json_string_keeps_its_nulls_and_a_python_string_does_not():
    assert from_json('{"a": null}', "row 0", "Give a dict.") == {"a": None}
    assert from_json("{'a': None}", "row 0", "Give a dict.") == {}
    with pytest.raises(DataError, match=r"row 0 is not JSON \(.*\)\. Give a dict\."):
        from_json("{", "row 0", "Give a dict.")


def test_a_value_is_void_where_all_that_it_holds_is_none():
    for value in (None, "", [], {}, [None], {"a": None, "b": {"c": None}}):
        assert is_void(value)
    for value in (0, False, " ", [""], {"a": ""}, [0]):
        assert not is_void(value)


def test_a_dict_that_holds_only_a_conversation_is_that_conversation():
    messages = [{"role": "user", "content": "Hi"}]
    assert conversation_in({"messages": messages, "id": None}) is messages
    for value in ({"messages": messages, "id": 3}, {"role": "user", "content": "Hi"}, messages):
        assert conversation_in(value) is value


def test_columns_become_rows_or_an_error_that_names_their_lengths():
    assert rows_of({"a": [1, 2], "b": [3, 4]}, "a.json") == [{"a": 1, "b": 3}, {"a": 2, "b": 4}]
    with pytest.raises(DataError, match=r"a\.json: the columns differ in length: 'a' has 1, 'b' has 2\."):
        rows_of({"a": [1], "b": [3, 4]}, "a.json")
    assert as_dicts({"a": [1], "b": [3, 4]}) == {"a": [1], "b": [3, 4]}  # not a list of dicts
    assert as_dicts({"a": {"b": [1, 2]}}) == [{"a": {"b": 1}}, {"a": {"b": 2}}]
