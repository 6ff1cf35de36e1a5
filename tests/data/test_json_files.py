"""The shapes of JSON that programs write rows in, and where a mistake in one is."""

import io
from pathlib import Path

import pandas
import pytest

from easydel.data.bad_rows import raised
from easydel.data.json_files import json_rows
from easydel.data.source import load_rows
from easydel.errors import DataError

ROWS = [{"prompt": "a", "chosen": "b"}, {"prompt": "c", "chosen": "d"}]


def test_a_json_file_may_hold_one_object_on_each_line(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('\n{"prompt": "0"}\n\n{"prompt": "1"}\n')
    assert load_rows(str(path)) == [{"prompt": "0"}, {"prompt": "1"}]


def rows_in(text: str, field: str | None = None) -> list[dict]:
    return list(raised(json_rows(io.StringIO(text), Path("a.json"), field)))


@pytest.mark.parametrize("orient", ["records", "split", "index", "columns", "table"])
def test_every_orientation_of_pandas_gives_the_same_rows(orient):
    found = rows_in(pandas.DataFrame(ROWS).to_json(orient=orient) or "")
    assert [{name: row[name] for name in ROWS[0]} for row in found] == ROWS


@pytest.mark.parametrize(
    "text",
    [
        '{"prompt": "a", "chosen": "b"}\n\n{"prompt": "c", "chosen": "d"}\n',
        '{\n"prompt": "a",\n"chosen": "b"\n}\n{\n"prompt": "c", "chosen": "d"}',
        '[{"prompt": "a", "chosen": "b"},\n {"prompt": "c", "chosen": "d"}]\n',
        '{"rows": [{"prompt": "a", "chosen": "b"}, {"prompt": "c", "chosen": "d"}]}',
        '{"prompt": ["a", "c"], "chosen": ["b", "d"]}',
        '\n \n{"prompt": ["a", "c"],\n "chosen": ["b", "d"]}\n',
    ],
)
def test_lines_documents_lists_and_tables_give_the_same_rows(text):
    assert rows_in(text) == ROWS


def test_a_row_whose_values_are_lists_is_a_row():
    messages = [{"role": "user", "content": "a"}]
    row = {"prompt": messages, "chosen": messages, "rejected": messages}
    assert rows_in(f"{row}".replace("'", '"')) == [row]
    assert rows_in('{"prompt_ids": [1, 2], "chosen_ids": [3, 4]}') == [{"prompt_ids": [1, 2], "chosen_ids": [3, 4]}]


def test_the_rows_of_a_field_are_below_its_key():
    assert rows_in('{"data": [{"prompt": "a"}], "version": 1}', "data") == [{"prompt": "a"}]


@pytest.mark.parametrize(
    ("text", "field", "words"),
    [
        ('{"a": 1}\n{"a": 2, "b": 3, "a": 4}', None, "a.json, line 2: an object has the key 'a' twice: remove one"),
        ('{"a": 1}\n3', None, "a.json, line 2 is of type int; each line must be one JSON object"),
        ('{"a": 1}\n{"a"', None, "a.json, line 2, column 5: .* Each line must be one JSON object"),
        ('[{"a": 1}, 3]', None, "a.json: item 1 of the list is of type int; each item must be one JSON object"),
        ('[{"a": 1}] 3', None, "a.json, line 1: more data follows the list of rows"),
        ('[{"a": 1} {"a": 2}]', None, "a.json, line 1, column 11: Expecting ',' delimiter"),
        ('{"a": ["x"]}\n{"a": ["y"]}', None, "a.json, line 2: more data follows the object that holds the whole table"),
        ('{"a": ["x"], "b": ["y", "z"]}', None, "a.json, line 1: the columns differ in length: 'a' has 1, 'b' has 2"),
        ('{"columns": ["a"], "data": [[1, 2]]}', None, "a.json, line 1, item 0 of 'data' has 2 values for 1 columns"),
        ('{"rows": []}', "row", "a.json, line 1: 'row', the field .* is not a list of rows. Did you mean 'rows'"),
        ("[" * 100_000, None, "nested too deep"),
    ],
)
def test_a_mistake_is_named_with_its_line(text, field, words):
    with pytest.raises(DataError, match=words):
        rows_in(text, field)
