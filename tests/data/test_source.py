import json
import re
from pathlib import Path

import pytest

from easydel.data.bad_rows import BadRow
from easydel.data.source import load_rows, local_files, stream_rows
from easydel.data.stream import is_stream
from easydel.errors import DataError
from oracles.row_files import write_numbered


def numbers(name: Path | str, split: str | None = "train") -> list[int]:
    return [int(row["prompt"]) for row in load_rows(str(name), split)]


@pytest.mark.parametrize(
    ("split", "expected"),
    [
        ("train", range(10)),
        ("train[:10%]", [0]),
        ("train[:90%]", range(9)),
        ("train[90%:]", [9]),
        ("train[2:4]", [2, 3]),
        ("train[-2:]", [8, 9]),
        ("train[:-20%]", range(8)),
        ("train[-50:2]", [0, 1]),
        ("train[:2]+train[8:]", [0, 1, 8, 9]),
        ("train[:25%]", [0, 1]),  # to the nearest row, a half to the even one, as `datasets` does
    ],
)
def test_splits_are_sliced_as_in_datasets(split, expected, tmp_path):
    assert numbers(write_numbered(tmp_path / "a.jsonl"), split) == list(expected)


def test_a_glob_joins_files_in_the_order_of_their_names(tmp_path):
    write_numbered(tmp_path / "b.jsonl.gz", 5, 8)
    write_numbered(tmp_path / "a.csv", 0, 5)
    (tmp_path / "README.md").write_text("not data")
    assert numbers(tmp_path / "*") == list(range(8))
    assert numbers(tmp_path / "b*") == [5, 6, 7]


def test_a_folder_without_names_of_splits_is_all_train(tmp_path):
    write_numbered(tmp_path / "b.jsonl", 5, 8)
    write_numbered(tmp_path / "data" / "c.jsonl", 8, 9)
    write_numbered(tmp_path / "a.jsonl", 0, 5)
    assert numbers(tmp_path) == list(range(9))


def test_the_files_of_a_folder_belong_to_the_split_they_are_named_after(tmp_path):
    write_numbered(tmp_path / "train-00000-of-00002.jsonl", 0, 2)
    write_numbered(tmp_path / "train-00001-of-00002.jsonl", 2, 4)
    write_numbered(tmp_path / "dev.jsonl", 4, 6)
    assert numbers(tmp_path) == [0, 1, 2, 3]
    assert numbers(tmp_path, "validation[:1]+train[:1]") == [4, 0]
    write_numbered(tmp_path / "trainers.jsonl", 90, 92)
    with pytest.warns(UserWarning, match=r"1 data file is in no split of .* and not read, .* such as 'trainers.jsonl'"):
        assert numbers(tmp_path) == [0, 1, 2, 3]


def test_without_a_name_the_only_split_is_taken(tmp_path):
    assert numbers(write_numbered(tmp_path / "rows.jsonl", 0, 3), None) == [0, 1, 2]
    assert numbers(write_numbered(tmp_path / "only" / "test.jsonl", 5, 7).parent, None) == [5, 6]


def test_without_a_name_several_splits_are_an_error_that_lists_them(tmp_path):
    write_numbered(tmp_path / "train.jsonl")
    write_numbered(tmp_path / "test.jsonl")
    with pytest.raises(DataError, match="has several splits, 'train', 'test': choose one"):
        load_rows(str(tmp_path), None)


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ("test", "has no split 'test', only 'train'. A file or glob has one split"),
        ("train[1:2", "is invalid. Write a name such as 'train'"),
        ("train[:200%]", "200% is not between"),
        ("train[3:3]", "has no rows"),
    ],
)
def test_a_split_that_is_not_there_is_an_error(split, message, tmp_path):
    with pytest.raises(DataError, match=message):
        load_rows(str(write_numbered(tmp_path / "a.jsonl")), split)


def test_a_missing_file_names_the_nearest(tmp_path):
    write_numbered(tmp_path / "train.jsonl")
    with pytest.raises(DataError, match=r"file or folder .*trian.jsonl' does not exist. Did you mean 'train.jsonl'"):
        load_rows(str(tmp_path / "trian.jsonl"))


def test_a_glob_or_folder_without_data_is_an_error(tmp_path):
    for name in (tmp_path, tmp_path / "*.jsonl"):
        with pytest.raises(DataError, match="no data file at"):
            load_rows(str(name))


def test_a_stream_gives_the_rows_of_the_files_each_time_it_is_iterated_over(tmp_path):
    for name, first in (("train-0.jsonl", 0), ("train-1.jsonl", 10), ("test.jsonl", 20)):
        lines = (json.dumps({"prompt": str(number)}) + "\n" for number in range(first, first + 10))
        (tmp_path / name).write_text("".join(lines))
    for split in ("train", "test", "train[:12]", "train[5:]", "train[3:11]+test[:2]+train[:1]"):
        rows = stream_rows(str(tmp_path), split)
        assert is_stream(rows)
        assert list(rows) == list(rows) == load_rows(str(tmp_path), split)
    assert list(stream_rows(str(tmp_path / "test.jsonl"), None)) == load_rows(str(tmp_path / "test.jsonl"), None)


def test_a_stream_finds_a_missing_file_at_once_and_a_bad_line_when_it_is_read(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        stream_rows(str(tmp_path / "rows.jsonl"))
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a"}\n{"prompt"\n')
    rows = iter(stream_rows(str(tmp_path / "rows.jsonl")))
    assert next(rows) == {"prompt": "a"}
    with pytest.raises(DataError, match=r"rows\.jsonl, line 2"):
        next(rows)


@pytest.mark.parametrize("split", ["train[:90%]", "train[-5:]", "train[2:-1]"])
def test_a_stream_is_not_cut_where_its_length_would_be_needed(tmp_path, split):
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a"}\n')
    with pytest.raises(DataError, match=r"split 'train' of a stream cannot be sliced at .* Give row numbers"):
        stream_rows(str(tmp_path / "rows.jsonl"), split)


def test_other_names_are_left_to_the_hub():
    assert local_files("trl-lib/ultrafeedback_binarized") is None


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.jsonl", '{"prompt": "0"}\n{"prompt": "1"\n{"prompt": "2"}\n', r"a\.jsonl, line 2, column 15: "),
        ("a.jsonl", '{"prompt": "0"}\n1\n{"prompt": "2"}\n', r"a\.jsonl, line 2 is of type int"),
        ("a.csv", "prompt,chosen\n0,a\n1\n2,b\n", r"a\.csv, line 3: the row has more or fewer fields"),
    ],
)
def test_a_line_that_is_no_row_stops_or_is_marked_in_its_place(tmp_path, name, text, words):
    file = tmp_path / name
    file.write_text(text)
    rows = iter(stream_rows(str(file)))
    assert next(rows)["prompt"] == "0"
    with pytest.raises(DataError, match=words):
        next(rows)
    with pytest.raises(DataError, match=words):
        load_rows(str(file))
    for marked in (list(stream_rows(str(file), on_bad_row="skip")), load_rows(str(file), on_bad_row="skip")):
        assert [row.get("prompt") for row in marked] == ["0", None, "2"]
        assert isinstance(marked[1], BadRow)
        assert re.search(words, marked[1].reason)
