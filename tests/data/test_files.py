"""Files of rows: formats, compression, and what is wrong with them."""

import bz2
import csv
import lzma
import re
from pathlib import Path

import pyarrow
import pytest

from easydel.data.files import DataFile, accepted, is_data_file, read_file
from easydel.errors import DataError
from oracles.row_files import write_numbered


@pytest.mark.parametrize(
    "name", ["a.jsonl", "a.jsonl.gz", "a.json", "a.json.gz", "a.csv", "a.csv.gz", "a.tsv", "a.parquet"]
)
def test_every_kind_of_file_gives_the_same_rows(name, tmp_path):
    rows = list(read_file(write_numbered(tmp_path / name, 0, 3)))
    assert rows == [{"prompt": str(n), "chosen": "yes, sir", "rejected": "no\nway"} for n in range(3)]


def test_a_long_field_of_a_csv_file_is_read(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("prompt,chosen\n1," + "x" * 200_000 + "\n")
    assert len(next(read_file(path))["chosen"]) == 200_000
    assert csv.field_size_limit() == 131072


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.jsonl", '{"a": 1}\n{"a": \n', r"a\.jsonl, line 2, column 6: Expecting value"),
        ("a.jsonl", '{"a": 1}\n[1]\n', "line 2 is of type list; each line must be one JSON object"),
        ("a.json", '[{"a": 1},\n{"a" 2}]', r"a\.json, line 2, column 6: Expecting ':' delimiter"),
        ("a.json", "[1]", "item 0 of the list is of type int; each item must be one JSON object"),
        ("a.csv", "a,b\n1,2\n3\n", "line 3: the row has more or fewer fields than the header, which has 2"),
        ("a.csv", 'a,b\n1,"2\n', "line 2: unexpected end of data"),
        (
            "a.csv",
            "a;b\n1;2\n",
            "line 1: the header 'a;b' is a single column, as fields are separated by ',' here, not",
        ),
        ("a.tsv", "a,b\n1,2\n", r"by '\\t' here, not ','"),
        ("a.parquet", "no parquet", r"a\.parquet: "),
        ("a.txt", "text", "cannot read files of this type; expected .json"),
        ("a.jsonl.gz", "not compressed", "damaged or cut short"),
    ],
)
def test_a_file_that_cannot_be_read_names_itself_and_the_line(name, text, message, tmp_path):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        list(read_file(path))


def test_text_that_is_not_utf8_is_an_error(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"a": "\xff"}')
    with pytest.raises(DataError, match="byte 7 is not valid UTF-8"):
        list(read_file(path))


def test_a_compressed_file_cut_short_is_an_error(tmp_path):
    path = write_numbered(tmp_path / "a.jsonl.gz")
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(DataError, match="damaged or cut short"):
        list(read_file(path))


@pytest.mark.parametrize("name", ["a.jsonl.bz2", "a.jsonl.xz", "a.jsonl.zst", "a.jsonl.lz4", "a.jsonl"])
def test_a_file_is_decompressed_by_its_ending_or_by_its_first_bytes(name, tmp_path):
    content = b'{"prompt": "a"}\n'
    path = tmp_path / name
    match path.suffix:
        case ".bz2":
            path.write_bytes(bz2.compress(content))
        case ".zst" | ".lz4":
            codec = pyarrow.Codec({".zst": "zstd", ".lz4": "lz4"}[path.suffix])
            with pyarrow.CompressedOutputStream(str(path), codec.name) as file:
                file.write(content)
        case _:
            path.write_bytes(lzma.compress(content))
    assert list(read_file(path)) == [{"prompt": "a"}]


def test_what_the_ending_says_takes_precedence_over_what_is_known_of_a_file(tmp_path):
    (tmp_path / "rows").write_text("prompt;chosen\na;b\n")
    assert list(read_file(DataFile(tmp_path / "rows", "csv", ";"))) == [{"prompt": "a", "chosen": "b"}]
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a"}\n')
    assert list(read_file(DataFile(tmp_path / "rows.jsonl", "csv"))) == [{"prompt": "a"}]
    with pytest.raises(DataError, match="cannot read files of this type"):
        list(read_file(tmp_path / "rows"))


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("a.zip", "Unpack it"),
        ("a.xlsx", "Save the sheet as CSV"),
        ("a.txt", "A line of text is not a pair"),
        ("a.md", ""),
    ],
)
def test_a_file_of_another_type_is_refused_with_what_to_do(name, hint, tmp_path):
    (tmp_path / name).write_text("x")
    with pytest.raises(DataError, match=rf"cannot read files of this type; expected \.json, .*\)\. ?{hint}"):
        list(read_file(tmp_path / name))
    assert not is_data_file(Path(name))


def test_the_endings_in_a_message_are_those_that_are_read():
    for ending in re.findall(r"\.\w+", accepted().partition(" (")[0]):
        assert is_data_file(Path("a" + ending))
        assert is_data_file(Path("A" + ending.upper() + ".GZ"))


def test_a_disk_that_fails_is_not_called_a_damaged_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        list(read_file(tmp_path / "missing.jsonl"))
