"""The good rows are written as they were, the others beside them with the reasons."""

import datetime
import json

import numpy as np
import pytest

from easydel.data.bad_rows import BadRow
from easydel.errors import ConfigError
from easydel.inspect.cleaned import left_out_file, write_cleaned


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_each_row_is_in_one_of_the_files(tmp_path):
    rows = [{"prompt": "a", "extra": None}, {"prompt": "b\u2028"}, BadRow("no JSON")]
    written = write_cleaned(tmp_path / "good.jsonl", [(row, "") for row in rows], {1: ["why"], 2: ["no JSON"]})
    assert (written.rows_kept, written.rows_left_out) == (1, 2)
    assert lines(written.kept) == [rows[0]]
    assert lines(written.left_out) == [
        {"row": 1, "reasons": ["why"], "values": rows[1]},
        {"row": 2, "reasons": ["no JSON"], "values": None},
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["good.jsonl", "good.left_out.jsonl"]


def test_values_of_files_that_json_lacks_are_written(tmp_path):
    row = {"ids": np.array([1, 2]), "one": np.float32(0.5), "day": datetime.date(2026, 1, 2), "half": "\ud800"}
    written = write_cleaned(tmp_path / "good.jsonl", [(row, "")], {})
    assert lines(written.kept) == [{"ids": [1, 2], "one": 0.5, "day": "2026-01-02", "half": "\ud800"}]


@pytest.mark.parametrize("name", ["good.jsonl", "good.left_out.jsonl"])
def test_nothing_is_written_over(tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(ConfigError, match="exists: nothing is written over"):
        write_cleaned(tmp_path / "good.jsonl", [], {})
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "mine"


def test_a_file_that_appears_meanwhile_is_not_written_over(tmp_path):
    def rows():
        (tmp_path / "good.jsonl").write_text("mine")
        yield {"prompt": "a"}, ""

    with pytest.raises(ConfigError, match="exists: nothing is written over"):
        write_cleaned(tmp_path / "good.jsonl", rows(), {})
    assert (tmp_path / "good.jsonl").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["good.jsonl"]


def test_a_folder_that_is_missing_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match="is missing or not writable"):
        write_cleaned(tmp_path / "nope" / "good.jsonl", [], {})
    assert left_out_file(tmp_path / "a.jsonl").name == "a.left_out.jsonl"
