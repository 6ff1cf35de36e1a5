import csv
import gzip
import json
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from easydel.data.source import load_rows, local_files, stream_rows
from easydel.data.stream import is_stream
from easydel.errors import DataError


def write(path: Path, start: int = 0, stop: int = 10) -> Path:
    """A file of rows {"prompt": "<number>", ...} in the format that its name says."""
    rows = [{"prompt": str(n), "chosen": "yes, sir", "rejected": "no\nway"} for n in range(start, stop)]
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = path.name.removesuffix(".gz").rpartition(".")[2]
    if kind == "parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
        return path
    with (gzip.open if path.suffix == ".gz" else open)(path, "wt", newline="") as file:
        if kind in ("csv", "tsv"):
            writer = csv.DictWriter(file, rows[0], delimiter="," if kind == "csv" else "\t")
            writer.writeheader()
            writer.writerows(rows)
        elif kind == "json":
            json.dump(rows, file, indent=1)
        else:
            file.writelines(json.dumps(row) + "\n" for row in rows)
    return path


def numbers(name: Path | str, split: str | None = "train") -> list[int]:
    return [int(row["prompt"]) for row in load_rows(str(name), split)]


@pytest.mark.parametrize(
    "name", ["a.jsonl", "a.jsonl.gz", "a.json", "a.json.gz", "a.csv", "a.csv.gz", "a.tsv", "a.parquet"]
)
def test_every_kind_of_file_gives_the_same_rows(name, tmp_path):
    rows = load_rows(str(write(tmp_path / name, 0, 3)))
    assert rows == [{"prompt": str(n), "chosen": "yes, sir", "rejected": "no\nway"} for n in range(3)]


def test_a_json_file_may_hold_one_object_on_each_line(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('\n{"prompt": "0"}\n\n{"prompt": "1"}\n')
    assert numbers(path) == [0, 1]


def test_a_long_field_of_a_csv_file_is_read(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("prompt,chosen\n1," + "x" * 200_000 + "\n")
    assert len(load_rows(str(path))[0]["chosen"]) == 200_000
    assert csv.field_size_limit() == 131072


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
    assert numbers(write(tmp_path / "a.jsonl"), split) == list(expected)


def test_a_glob_joins_files_in_the_order_of_their_names(tmp_path):
    write(tmp_path / "b.jsonl.gz", 5, 8)
    write(tmp_path / "a.csv", 0, 5)
    (tmp_path / "README.md").write_text("not data")
    assert numbers(tmp_path / "*") == list(range(8))
    assert numbers(tmp_path / "b*") == [5, 6, 7]


def test_a_folder_without_names_of_splits_is_all_train(tmp_path):
    write(tmp_path / "b.jsonl", 5, 8)
    write(tmp_path / "data" / "c.jsonl", 8, 9)
    write(tmp_path / "a.jsonl", 0, 5)
    assert numbers(tmp_path) == list(range(9))


def test_the_files_of_a_folder_belong_to_the_split_they_are_named_after(tmp_path):
    write(tmp_path / "train-00000-of-00002.jsonl", 0, 2)
    write(tmp_path / "train-00001-of-00002.jsonl", 2, 4)
    write(tmp_path / "dev.jsonl", 4, 6)
    assert numbers(tmp_path) == [0, 1, 2, 3]
    assert numbers(tmp_path, "validation[:1]+train[:1]") == [4, 0]
    write(tmp_path / "trainers.jsonl", 90, 92)
    with pytest.warns(UserWarning, match=r"1 data file in .* is of no split, such as 'trainers.jsonl', and is not"):
        assert numbers(tmp_path) == [0, 1, 2, 3]


def test_without_a_name_the_only_split_is_taken(tmp_path):
    assert numbers(write(tmp_path / "rows.jsonl", 0, 3), None) == [0, 1, 2]
    assert numbers(write(tmp_path / "only" / "test.jsonl", 5, 7).parent, None) == [5, 6]


def test_without_a_name_several_splits_are_an_error_that_lists_them(tmp_path):
    write(tmp_path / "train.jsonl")
    write(tmp_path / "test.jsonl")
    with pytest.raises(DataError, match="has the splits 'train', 'test': name the one to take"):
        load_rows(str(tmp_path), None)


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ("test", "has no split 'test', only 'train'. A file or glob is one split"),
        ("train[1:2", "cannot be read. Write a name such as 'train'"),
        ("train[:200%]", "200% is not between"),
        ("train[3:3]", "has no rows"),
    ],
)
def test_a_split_that_is_not_there_is_an_error(split, message, tmp_path):
    with pytest.raises(DataError, match=message):
        load_rows(str(write(tmp_path / "a.jsonl")), split)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.jsonl", '{"a": 1}\n{"a": \n', r"a\.jsonl, line 2, column 6: Expecting value"),
        ("a.jsonl", '{"a": 1}\n[1]\n', "line 2: of type list; each line must be one JSON object"),
        ("a.json", '[{"a": 1},\n{"a" 2}]', r"a\.json, line 2, column 6: Expecting ':' delimiter"),
        ("a.json", "[1]", "item 0 of the list is of type int"),
        ("a.csv", "a,b\n1,2\n3\n", "line 3: the row has more or fewer fields than the header, which has 2"),
        ("a.csv", 'a,b\n1,"2\n', "line 2: unexpected end of data"),
        ("a.csv", "a;b\n1;2\n", "line 1: the header 'a;b' is one name, as fields are separated by ',' here and not by"),
        ("a.tsv", "a,b\n1,2\n", r"by '\\t' here and not by ','"),
        ("a.parquet", "no parquet", r"a\.parquet: "),
        ("a.txt", "text", "cannot read files of this kind; expected .json"),
        ("a.jsonl.gz", "not compressed", "damaged or cut short"),
    ],
)
def test_a_file_that_cannot_be_read_names_itself_and_the_line(name, text, message, tmp_path):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        load_rows(str(path))


def test_text_that_is_not_utf8_is_an_error(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"a": "\xff"}')
    with pytest.raises(DataError, match="byte 7 is not UTF-8"):
        load_rows(str(path))


def test_a_compressed_file_cut_short_is_an_error(tmp_path):
    path = write(tmp_path / "a.jsonl.gz")
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(DataError, match="damaged or cut short"):
        load_rows(str(path))


def test_a_missing_file_names_the_nearest(tmp_path):
    write(tmp_path / "train.jsonl")
    with pytest.raises(DataError, match=r"there is no file or folder .*trian.jsonl'. Did you mean 'train.jsonl'"):
        load_rows(str(tmp_path / "trian.jsonl"))


def test_a_glob_or_folder_without_data_is_an_error(tmp_path):
    for name in (tmp_path, tmp_path / "*.jsonl"):
        with pytest.raises(DataError, match="no data file at"):
            load_rows(str(name))


def test_other_names_are_left_to_the_hub():
    assert local_files("trl-lib/ultrafeedback_binarized") is None


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
    with pytest.raises(DataError, match="there is no file or folder"):
        stream_rows(str(tmp_path / "rows.jsonl"))
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a"}\n{"prompt"\n')
    rows = iter(stream_rows(str(tmp_path / "rows.jsonl")))
    assert next(rows) == {"prompt": "a"}
    with pytest.raises(DataError, match=r"rows\.jsonl, line 2"):
        next(rows)


@pytest.mark.parametrize("split", ["train[:90%]", "train[-5:]", "train[2:-1]"])
def test_a_stream_is_not_cut_where_its_length_would_be_needed(tmp_path, split):
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a"}\n')
    with pytest.raises(DataError, match=r"the split 'train' of a stream cannot be cut at .* Give row numbers"):
        stream_rows(str(tmp_path / "rows.jsonl"), split)
