"""Dataset cards: their configs, and the settings in them."""

import json

import datasets
import pytest

from easydel.data.dataset_builders import card_settings, check_config_of, configs_of, kind_of, load_builder, one_line
from easydel.data.source import load_rows
from easydel.errors import DataError
from oracles.data_folders import TWO_CONFIGS, lay


@pytest.fixture(autouse=True)
def without_progress():
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()


def test_of_several_configs_one_must_be_named(tmp_path):
    folder = str(
        lay(tmp_path, ["a.jsonl", "helpful/b.jsonl", "harmless/a.jsonl"], TWO_CONFIGS.replace("  default: true\n", ""))
    )
    with pytest.raises(DataError, match="has several configs, 'helpful', 'harmless': choose one"):
        load_rows(folder)
    with pytest.raises(
        DataError, match=r"has no config 'helpfull', only 'helpful', 'harmless'. Did you mean 'helpful'"
    ):
        load_rows(folder, config="helpfull")
    with pytest.raises(DataError, match=r"a\.jsonl' has no config 'helpful': only folders with a dataset card"):
        load_rows(str(tmp_path / "a.jsonl"), config="helpful")


@pytest.mark.parametrize(
    ("card", "message"),
    [
        ("configs: [", "datasets cannot read the folder .*: while parsing"),
        ("configs:\n- config_name: default\n  data_files: 3", "Expected data_files in YAML"),
        ("configs:\n- config_name: default\n  data_files: b.jsonl", "Unable to find .*b.jsonl"),
        ("configs:\n- config_name: default\n  data_files: a.jsonl\n  encoding: latin-1", "sets encoding = 'latin-1'"),
    ],
)
def test_a_card_that_cannot_be_followed_is_an_error(card, message, tmp_path):
    with pytest.raises(DataError, match=message):
        load_rows(str(lay(tmp_path, ["a.jsonl"], card)))


def test_a_field_that_the_card_names_holds_the_rows(tmp_path):
    card = "configs:\n- config_name: default\n  data_files: a.json\n  field: pairs"
    folder = lay(tmp_path, [], card)
    (folder / "a.json").write_text(json.dumps({"version": 3, "pairs": [{"prompt": "a"}, {"prompt": "b"}]}))
    assert load_rows(str(folder)) == [{"prompt": "a"}, {"prompt": "b"}]
    (folder / "a.json").write_text('{"pair": []}')
    with pytest.raises(
        DataError, match=r"'pairs', the field that the .* card names, is not a list of rows\. Did you mean 'pair'"
    ):
        load_rows(str(folder))


def test_a_config_name_that_yaml_reads_as_a_number_needs_quotes(tmp_path):
    card = "configs:\n- config_name: {0}\n  data_files: a.jsonl\n- config_name: b\n  data_files: b.jsonl"
    folder = lay(tmp_path, ["a.jsonl", "b.jsonl"], card.format("'2023'"))
    assert load_rows(str(folder), config="2023") == [{"prompt": "a.jsonl", "chosen": "yes"}]
    lay(tmp_path, [], card.format("2023"))
    with pytest.raises(DataError, match=r"A config_name that YAML reads as a number or boolean needs quotes\."):
        load_rows(str(folder), config="b")


def test_the_configs_of_a_folder_are_those_of_its_card(tmp_path):
    names = ["helpful/a.jsonl", "harmless/a.jsonl", "harmless/b.jsonl", "harmless/c.jsonl"]
    folder = str(lay(tmp_path / "pairs", names, TWO_CONFIGS))
    assert configs_of(folder) == ["helpful", "harmless"]
    assert configs_of(str(tmp_path / "missing")) == []


def test_the_settings_that_are_read_are_those_of_the_kind_of_file(tmp_path):
    card = "configs:\n- config_name: default\n  data_files: a.csv\n  sep: ';'\n  description: pairs"
    builder = load_builder(str(lay(tmp_path / "csv", ["a.csv"], card)), None)
    assert (kind_of(builder), card_settings("pairs", builder)) == ("csv", (";", None))
    card = "configs:\n- config_name: default\n  data_files: a.json\n  field: rows"
    (tmp_path / "json").mkdir()
    folder = lay(tmp_path / "json", [], card)
    (folder / "a.json").write_text('{"rows": []}')
    builder = load_builder(str(folder), None)
    assert (kind_of(builder), card_settings("pairs", builder)) == ("json", (None, "rows"))


def test_a_config_need_not_be_named_where_there_is_one_or_none():
    for config, configs in ((None, []), (None, ["a"]), ("a", ["a", "b"]), ("a", [])):
        check_config_of("pairs", config, configs)
    with pytest.raises(DataError, match=r"pairs has several configs, 'a', 'b': choose one \(dataset_config\)\."):
        check_config_of("pairs", None, ["a", "b"])
    with pytest.raises(DataError, match="pairs has no config 'c', only 'a', 'b'"):
        check_config_of("pairs", "c", ["a", "b"])


def test_an_error_of_datasets_is_one_line_that_ends_in_a_full_stop():
    assert one_line(ValueError("it\n is  wrong.")) == "it is wrong."
    assert one_line(KeyError()) == "KeyError."
    assert one_line(ValueError("x" * 900)) == "x" * 300 + "."
