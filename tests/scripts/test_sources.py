import gzip
import json
from pathlib import Path

import datasets
import pytest

from easydel.errors import DataError
from easydel.scripts.sources import load_rows, local_files


@pytest.fixture(autouse=True)
def cache_of_datasets(tmp_path, monkeypatch):
    """Keeps what `datasets` writes out of the user's own cache."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def write(path: Path, start: int, stop: int) -> Path:
    lines = [json.dumps({"prompt": str(n), "chosen": "yes", "rejected": "no"}) for n in range(start, stop)]
    text = "\n".join(lines).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


def prompts(name: Path | str, split: str | None = "train") -> list[int]:
    return [int(row["prompt"]) for row in load_rows(str(name), split)]


def test_a_file_is_read_compressed_or_not(tmp_path):
    assert prompts(write(tmp_path / "a.jsonl", 0, 5)) == list(range(5))
    assert prompts(write(tmp_path / "b.jsonl.gz", 0, 5)) == list(range(5))


def test_csv_and_parquet_files_are_read(tmp_path):
    rows = datasets.Dataset.from_json(str(write(tmp_path / "a.jsonl", 0, 3)))
    rows.to_csv(tmp_path / "a.csv")
    rows.to_parquet(tmp_path / "a.parquet")
    assert prompts(tmp_path / "a.csv") == prompts(tmp_path / "a.parquet") == [0, 1, 2]


def test_a_folder_and_a_glob_join_files_in_the_order_of_their_names(tmp_path):
    folder = tmp_path / "rows"
    folder.mkdir()
    write(folder / "b.jsonl.gz", 5, 8)
    write(folder / "a.jsonl", 0, 5)
    (folder / "README.md").write_text("not data")
    assert prompts(folder) == list(range(8))
    assert prompts(folder / "*.jsonl*") == list(range(8))
    assert prompts(folder / "b*") == [5, 6, 7]


def test_slices_of_a_split_are_taken_from_files(tmp_path):
    path = write(tmp_path / "a.jsonl", 0, 10)
    assert prompts(path, "train[:90%]") == list(range(9))
    assert prompts(path, "test[-2:]") == [8, 9]
    assert prompts(path, "train[:2]+train[8:]") == [0, 1, 8, 9]
    assert prompts(path, None) == list(range(10))


def test_a_name_that_is_no_path_is_left_to_the_hub():
    assert local_files("trl-lib/ultrafeedback_binarized") == []


@pytest.mark.parametrize("name", ["missing.jsonl", "./missing", "/missing/folder", "missing/*.jsonl"])
def test_a_path_with_nothing_there_is_an_error(name):
    with pytest.raises(DataError, match=r"There is no data at .*missing"):
        load_rows(name, "train")


def test_a_dataset_of_the_hub_needs_a_split():
    with pytest.raises(DataError, match="a split must be named"):
        load_rows("trl-lib/ultrafeedback_binarized", None)


def test_files_of_several_kinds_are_an_error(tmp_path):
    write(tmp_path / "a.jsonl", 0, 1)
    (tmp_path / "b.csv").write_text("prompt,chosen,rejected\n1,yes,no\n")
    with pytest.raises(DataError, match="holds files of the kinds 'csv', 'json'"):
        load_rows(str(tmp_path), "train")


def test_a_file_that_cannot_be_read_is_named_with_the_reason(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"prompt": \n')
    with pytest.raises(DataError, match=r"Cannot load split 'train' of .*a\.jsonl.*JSON parse error"):
        load_rows(str(path), "train")


def test_a_split_that_cannot_be_read_is_an_error(tmp_path):
    with pytest.raises(DataError, match=r"Cannot load split 'train\[:x\]'"):
        load_rows(str(write(tmp_path / "a.jsonl", 0, 3)), "train[:x]")
