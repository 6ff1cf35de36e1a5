"""Reading JSON files: what is wrong with one is told with file, line, column and reason, whoever reads it."""

import ast
import json
from pathlib import Path

import pytest

import easydel
from easydel.errors import DataError, WeightsError
from easydel.json_objects import parse_object, read_object

SOURCE = Path(easydel.__file__).parent
# Modules that decode text which is not the content of a JSON file of ours, and the reader.
OTHER_TEXT = {
    "json_objects.py",
    "data/json_files.py",  # rows, with a decoder that refuses repeated keys
    "data/text_literals.py",  # a cell of a table, in JSON or Python
    "data/tables.py",  # a cell of a column of JSON, metadata of Arrow
    "scripts/doctor.py",  # what another process printed
    "trainers/options/values.py",  # a value of the command line
    "trainers/tokenizer_files.py",  # a tokenizer as text
}


def test_what_a_file_holds_is_returned(tmp_path):
    (tmp_path / "a.json").write_text('{"name": "Zürich", "sizes": [1, 2.5, null]}', encoding="utf-8")
    assert read_object(tmp_path / "a.json") == {"name": "Zürich", "sizes": [1, 2.5, None]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", ", line 1, column 1: not valid JSON: Expecting value."),
        (b'{\n  "a": 1,\n  "b" 2\n}', ", line 3, column 7: not valid JSON: Expecting ':' delimiter."),
        (b'{"a": "\xff"}', ": not valid JSON: 'utf-8' codec can't decode byte 0xff in position 7"),
        (b'{"a":' * 100_000, ": not valid JSON: its lists and objects are nested too deep."),
        (b'{"a": ' + b"1" * 5000 + b"}", ": not valid JSON: Exceeds the limit"),
        (b"[1]", ": a JSON object is needed, and this is of type list."),
    ],
)
def test_a_damaged_file_is_an_error_with_place_and_reason(tmp_path, content, message):
    file = tmp_path / "a.json"
    file.write_bytes(content)
    with pytest.raises(WeightsError) as raised:
        read_object(file)
    assert str(raised.value).startswith(f"{file}{message}")


def test_the_kind_of_error_and_what_to_do_are_the_callers():
    with pytest.raises(DataError, match=r"^log, line 9, column 2: not valid JSON: Expecting .* Remove it\.$"):
        parse_object(b"{", "log", DataError, line=9, hint="Remove it.")
    with pytest.raises(OSError, match=r"^log, line 9: a JSON object is needed, .* Remove it\.$"):
        parse_object(b"7", "log", OSError, line=9, hint="Remove it.")


def test_no_other_module_decodes_the_json_of_a_file():
    found = {
        str(path.relative_to(SOURCE))
        for path in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
        and (node.attr in ("load", "loads", "JSONDecoder", "JSONDecodeError"))
        and isinstance(node.value, ast.Name)
        and node.value.id == json.__name__
    }
    assert found == OTHER_TEXT
