"""Folders as people lay them out: each gives the splits that `datasets.load_dataset` gives of it."""

import os
import warnings
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

import datasets
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from easydel.data.source import load_rows, stream_rows
from easydel.errors import DataError
from oracles.data_folders import TWO_CONFIGS, lay

OF_FOLDERS = """configs:
- config_name: a
  data_dir: a
- config_name: b
  data_dir: b
  default: true"""

# Names of files; each holds one row, its own name.
LAYOUTS: dict[str, list[str]] = {
    "a single file": ["pairs.jsonl"],
    "several files": ["b.jsonl", "a.jsonl", "deep/c.jsonl"],
    "files named after splits": ["train.jsonl", "test.jsonl", "validation.jsonl"],
    "other names of splits": ["training.jsonl", "testing.jsonl", "dev.jsonl"],
    "eval and val": ["train.jsonl", "eval.jsonl", "val.jsonl"],
    "evaluation and valid": ["my-train.jsonl", "my evaluation.jsonl", "my.valid.jsonl"],
    "words that begin alike": ["trainers.jsonl", "testament.jsonl"],
    "names that end in a split": ["x_train.jsonl", "x_test.jsonl"],
    "numbers at a split": ["train0.jsonl", "train1.jsonl", "test0.jsonl"],
    "folders named after splits": ["train/a.jsonl", "train/b.jsonl", "test/a.jsonl"],
    "folders that end in a split": ["x_train/a.jsonl", "x_test/b.jsonl"],
    "folders of folders": ["data/train/part1/a.jsonl", "data/test/b.jsonl", "data/val/c.jsonl"],
    "shards": [
        "data/train-00000-of-00002.jsonl",
        "data/train-00001-of-00002.jsonl",
        "data/test-00000-of-00001.jsonl",
    ],
    "shards of any split": ["data/train_prefs-00000-of-00001.jsonl", "data/gen-00000-of-00001.jsonl"],
    "parquet shards": ["data/train-00000-of-00001.parquet", "data/test-00000-of-00001.parquet"],
    "hidden files": ["a.jsonl", ".b.jsonl", ".git/c.jsonl", "__pycache__/d.jsonl"],
    "files that are no data": ["a.jsonl", "LICENSE", "config.json", "dataset_infos.json", "dataset_dict.json"],
    "a train folder of tests": ["train/test_0.jsonl", "train/test_1.jsonl"],
    "compressed": ["train.jsonl.gz", "test.jsonl.gz"],
    "csv": ["train.csv", "test.csv"],
    "tsv": ["train.tsv", "test.tsv"],
    "a backup": ["train.jsonl", "train.jsonl.bak", "notes~"],
}
CARDS: dict[str, tuple[str, list[str]]] = {
    "one pattern": ("configs:\n- config_name: default\n  data_files: '*.jsonl'", ["test.jsonl", "b.jsonl"]),
    "a list": ("configs:\n- config_name: default\n  data_files: [b.jsonl, a.jsonl]", ["a.jsonl", "b.jsonl", "c.jsonl"]),
    "splits": (
        "configs:\n- config_name: default\n  data_files:\n"
        "  - split: train\n    path: x/*\n  - split: rest\n    path: y/*",
        ["x/test.jsonl", "y/train.jsonl", "z/train.jsonl"],
    ),
    "hidden on purpose": (
        "configs:\n- config_name: default\n  data_files: .kept/*.jsonl",
        [".kept/a.jsonl", "a.jsonl"],
    ),
    "a folder each": (OF_FOLDERS, ["a/train.jsonl", "b/train.jsonl", "b/test.jsonl"]),
    "a default of two": (TWO_CONFIGS, ["helpful/x.jsonl", *(f"harmless/{name}.jsonl" for name in "abc")]),
    "no configs": ("license: mit", ["train.jsonl", "test.jsonl"]),
    "a separator": ("configs:\n- config_name: default\n  data_files: a.csv\n  sep: ';'", ["a.csv"]),
}


def of_datasets(folder: Path, tmp_path: Path, config: str | None = None) -> dict[str, list[dict]]:
    found = datasets.load_dataset(str(folder), config, cache_dir=str(tmp_path / "cache"))
    return {str(split): list(rows) for split, rows in found.items()}


@pytest.fixture(autouse=True)
def without_progress():
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()


@pytest.mark.filterwarnings("ignore:.*(in no split|combines)")
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_folder_gives_the_splits_that_datasets_gives(layout, tmp_path):
    folder = lay(tmp_path / "pairs", [name for name in LAYOUTS[layout] if name != "dataset_dict.json"])
    splits = of_datasets(folder, tmp_path)
    for split, rows in splits.items():
        assert load_rows(str(folder), split) == list(stream_rows(str(folder), split)) == rows
    with pytest.raises(DataError, match=f"has no split 'nothing', only {', '.join(map(repr, splits))}"):
        load_rows(str(folder), "nothing")


@pytest.mark.parametrize("card", CARDS)
def test_a_folder_with_a_card_gives_the_splits_that_datasets_gives(card, tmp_path):
    words, names = CARDS[card]
    folder = lay(tmp_path / "pairs", names, words)
    for config in [*datasets.get_dataset_config_names(str(folder)), None]:
        for split, rows in of_datasets(folder, tmp_path, config).items():
            assert load_rows(str(folder), split, config) == list(stream_rows(str(folder), split, config)) == rows


def test_a_name_that_datasets_does_not_tell_from_others_can_be_asked_for(tmp_path):
    folder = lay(tmp_path, ["train_prefs/a.jsonl", "train_sft/b.jsonl", "test_prefs/c.jsonl", "gen/d.jsonl"])
    assert [row["prompt"] for row in load_rows(str(folder), "train_prefs")] == ["train_prefs/a.jsonl"]
    assert [row["prompt"] for row in load_rows(str(folder), "gen")] == ["gen/d.jsonl"]
    with (
        pytest.warns(
            UserWarning, match=r"split 'train' .* combines train_prefs, train_sft, as in datasets; name the split 'tra"
        ),
        pytest.warns(UserWarning, match="1 data file is in no split of .*, such as 'gen/d.jsonl'"),
    ):
        assert len(load_rows(str(folder))) == 2


def test_files_of_several_kinds_are_not_left_out_in_silence(tmp_path):
    folder = lay(tmp_path, ["a.csv", "b.csv", "c.jsonl"])
    with pytest.warns(UserWarning, match="1 data file is in no split of .*, such as 'c.jsonl'"):
        assert len(load_rows(str(folder))) == 2


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["train/test/a.jsonl", "train/b.jsonl"], "'train/test/a.jsonl' in .* has the names of two splits, 'train'"),
        (
            ["a.jsonl", "Test.jsonl"],
            "'Test.jsonl' in .* would be trained on, as names of splits are lowercase",
        ),
        (
            ["train.jsonl", "test.csv"],
            "datasets cannot read the folder .*: Couldn't infer the same data file format",
        ),
        (["a.txt", "b.txt", "c.jsonl"], "takes .* for a folder of text files, because of 'a.txt'"),
        (["a.txt"], "no data file at"),
        ([".hidden.jsonl"], "no data file at"),
    ],
)
def test_a_folder_that_would_be_guessed_at_is_an_error(names, message, tmp_path):
    with pytest.raises(DataError, match=message):
        load_rows(str(lay(tmp_path / "pairs", names)))


@pytest.mark.parametrize(("path", "mark"), [("run[1]", r"\["), ("a::b", "::")])
def test_a_path_that_is_a_pattern_cannot_be_searched(path, mark, tmp_path):
    with pytest.raises(DataError, match=f"contains '{mark}': rename it"):
        load_rows(str(lay(tmp_path / path, ["train.jsonl"])))


def test_a_script_beside_the_data_is_never_run_and_an_archive_is_named(tmp_path):
    folder = lay(tmp_path / "pairs", ["train.jsonl"])
    (folder / "pairs.py").write_text("raise SystemExit")
    with pytest.raises(DataError, match=r"datasets cannot read the folder .*: Dataset scripts are no longer supported"):
        load_rows(str(folder))
    packed = lay(tmp_path / "packed", ["test.jsonl"])
    with zipfile.ZipFile(packed / "train.zip", "w") as archive:
        archive.writestr("a.jsonl", '{"prompt": "a"}')
    with pytest.raises(DataError, match=r"split 'train' of .* is in the archive 'train.zip', .*: unpack it"):
        load_rows(str(packed))


def test_a_file_is_of_the_kind_that_its_ending_says(tmp_path):
    """`datasets` takes all files of a card for those of the first."""
    card = "configs:\n- config_name: a\n  data_files: a.jsonl\n- config_name: b\n  data_files: [b.parquet, c.csv]"
    folder = lay(tmp_path, ["a.jsonl", "b.parquet", "c.csv"], card)
    assert [row["prompt"] for row in load_rows(str(folder), config="b")] == ["b.parquet", "c.csv"]


def test_files_about_the_data_are_not_called_left_out(tmp_path):
    folder = lay(tmp_path, ["train.jsonl", "dataset_infos.json", "config.json"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(load_rows(str(folder))) == 1


NAMES = st.lists(
    st.sampled_from(
        [
            *("train", "test", "dev", "val", "eval", "validation", "evaluation", "testing", "latest", "pairs", "prefs"),
            *("contrastive", "trainers", "0", "00000-of-00002"),
        ]
    ),
    min_size=1,
    max_size=3,
).flatmap(lambda parts: st.sampled_from("-_. ").map(lambda mark: mark.join(parts)))
FOLDERS = st.sampled_from(["", "", "data/", "train/", "test_prefs/", "2024/", "my train/", "x_train/deep/"])
PATHS = st.builds(
    lambda folder, name, ending: folder + name + ending, FOLDERS, NAMES, st.sampled_from([".jsonl", ".jsonl", ".csv"])
)


@settings(
    max_examples=int(os.environ.get("EASYDEL_EXAMPLES", "40")) // 4,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(names=st.sets(PATHS, min_size=1, max_size=4))
def test_a_folder_of_any_names_gives_the_splits_that_datasets_gives_or_is_refused(names, tmp_path):
    with TemporaryDirectory(dir=tmp_path) as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        folder = lay(Path(scratch) / "pairs", sorted(names))
        try:
            splits = of_datasets(folder, Path(scratch))
        except ValueError:
            with pytest.raises(DataError, match="datasets cannot read the folder"):
                load_rows(str(folder))
            return
        for split, rows in splits.items():
            try:
                found = load_rows(str(folder), split)
            except DataError as error:
                found = str(error)
            assert found == rows or "has the names of two splits" in found


def numbered(start: int, stop: int) -> datasets.Dataset:
    return datasets.Dataset.from_list([{"prompt": str(number), "chosen": "yes"} for number in range(start, stop)])


def test_what_save_to_disk_wrote_is_read_with_slices_and_as_a_stream(tmp_path):
    one, several = tmp_path / "one", tmp_path / "several"
    numbered(0, 9).with_format("numpy").save_to_disk(str(one))
    datasets.DatasetDict({"train": numbered(0, 9), "test_prefs": numbered(9, 12)}).save_to_disk(str(several))
    rows = [{"prompt": str(number), "chosen": "yes"} for number in range(12)]
    assert list(load_rows(str(one))) == list(load_rows(str(several))) == rows[:9]
    assert list(load_rows(str(several), "test_prefs")) == rows[9:]
    assert list(load_rows(str(one), None)) == rows[:9]
    assert list(load_rows(str(one), "train[2:-50%]")) == rows[2:5]
    assert list(load_rows(str(several), "train[:1]+test_prefs[1:]")) == [rows[0], *rows[10:]]
    assert list(stream_rows(str(several), "train[7:]+test_prefs")) == rows[7:]
    for split, message in (("test", "has no split 'test', only 'train', 'test_prefs'"), (None, "has several splits")):
        with pytest.raises(DataError, match=message):
            load_rows(str(several), split)


def test_a_damaged_folder_of_save_to_disk_is_an_error(tmp_path):
    numbered(0, 9).save_to_disk(str(tmp_path))
    (tmp_path / "data-00000-of-00001.arrow").write_bytes(b"no table")
    with pytest.raises(DataError, match=r"cannot load what Dataset\.save_to_disk wrote"):
        load_rows(str(tmp_path))
