"""Datasets on the hub, with the builder of `datasets` and the download in their place."""

from pathlib import Path
from unittest.mock import patch

import pytest

from easydel.data.hub import hub_splits
from easydel.errors import DataError
from oracles.data_folders import HubJson

ADDRESS = "hf://datasets/owner/pairs@0123abc/data/train.jsonl"


def test_json_files_are_downloaded_when_they_are_read_and_read_as_local_ones(tmp_path):
    (tmp_path / "train.jsonl").write_text('{"prompt": "42"}\n')
    wanted = []

    def download(repository: str, file: str, *, repo_type: str, revision: str) -> str:
        wanted.append((repository, file, repo_type, revision))
        return str(tmp_path / Path(file).name)

    with patch("easydel.data.hub.load_builder", return_value=HubJson(data_files={"train": [ADDRESS]})):
        splits = hub_splits("owner/pairs", None, ["train"])
    with patch("huggingface_hub.hf_hub_download", download):
        assert not wanted
        assert list(splits["train"] or ()) == list(splits["train"] or ()) == [{"prompt": "42"}]
    assert wanted == [("owner/pairs", "data/train.jsonl", "dataset", "0123abc")] * 2


def test_files_that_datasets_reads_better_are_left_to_it():
    elsewhere = HubJson(data_files={"train": ["https://elsewhere/train.jsonl"]})
    with patch("easydel.data.hub.load_builder", return_value=elsewhere):
        assert hub_splits("owner/pairs", None, ["train"]) == {"train": None}


def test_a_download_that_fails_names_the_address():
    with patch("easydel.data.hub.load_builder", return_value=HubJson(data_files={"train": [ADDRESS]})):
        splits = hub_splits("owner/pairs", None, ["train"])
    with (
        patch("huggingface_hub.hf_hub_download", side_effect=OSError("no\nnetwork")),
        pytest.raises(DataError, match=f"cannot download {ADDRESS}: no network"),
    ):
        list(splits["train"] or ())


def test_a_dataset_that_cannot_be_loaded_is_named_with_the_reason_and_its_configs():
    with (
        patch("easydel.data.hub.load_builder", side_effect=ValueError("gone")),
        pytest.raises(
            DataError, match=r"cannot load split 'train' of 'owner/pairs' \(not a file or folder here\) .*: gone"
        ),
    ):
        hub_splits("owner/pairs", None, ["train"])
    with (
        patch("easydel.data.hub.load_builder", side_effect=ValueError("Config name is missing.")),
        patch("easydel.data.hub.configs_of", return_value=["easy", "hard"]),
        pytest.raises(
            DataError, match="'owner/pairs' on the Hugging Face hub has several configs, 'easy', 'hard': choose"
        ),
    ):
        hub_splits("owner/pairs", None, ["train"])
