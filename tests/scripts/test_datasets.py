import json

import pytest

from easydel.data.mix import first_of_each
from easydel.data.source import RowStream
from easydel.data.stream import is_stream
from easydel.errors import ConfigError, DataError
from easydel.scripts.datasets import describe, eval_names, load_eval, load_training, place_of


@pytest.fixture
def files(tmp_path) -> list[str]:
    """Files of 30 rows and of 10."""
    paths = []
    for name, number in (("a", 30), ("b", 10)):
        paths.append(tmp_path / f"{name}.jsonl")
        paths[-1].write_text("".join(json.dumps({"prompt": f"{name}{at}"}) + "\n" for at in range(number)))
    return [str(path) for path in paths]


def prompts(rows) -> list[str]:
    return [row["prompt"] for row in rows]


def test_one_dataset_is_read_as_it_is(files):
    assert prompts(load_training(files[0], "train[:3]")) == ["a0", "a1", "a2"]
    assert prompts(load_training([files[0]], "train[:3]")) == ["a0", "a1", "a2"]


def test_several_datasets_are_mixed_every_row_once_or_by_weight(files):
    assert sorted(prompts(load_training(files, "train"))) == sorted(
        prompts(load_training(files[0], "train")) + prompts(load_training(files[1], "train"))
    )
    weighted = prompts(load_training(files, "train", weights=[1, 3]))
    assert weighted.count("b9") == 1
    assert weighted[-1] == "b9"
    whole = prompts(load_training(files, "train", weights=[1, 3], stop="all_exhausted"))
    assert whole[-1] == "a29"
    assert whole != prompts(load_training(files, "train", weights=[1, 3], stop="all_exhausted", seed=1))


def test_streaming_reads_nothing_yet_and_then_the_same_rows(files):
    assert isinstance(load_training(files[0], "train", streaming=True), RowStream)
    streamed = load_training(files, "train", weights=[1, 3], streaming=True)
    assert is_stream(streamed)
    assert prompts(streamed) == prompts(streamed) == prompts(load_training(files, "train", weights=[1, 3]))


def test_eval_datasets_go_by_their_names(files):
    named = load_eval([f"easy={files[0]}", f"hard={files[1]}"], "", None)
    assert isinstance(named, dict)
    assert {name: len(list(rows)) for name, rows in named.items()} == {"easy": 30, "hard": 10}
    assert list(load_eval(f"easy={files[0]}", "", None) or {}) == ["easy"]
    assert prompts(load_eval(files[1], "", "train[:2]") or []) == ["b0", "b1"]


def test_without_a_name_the_evaluation_is_a_split_of_what_is_trained_on(files):
    assert load_eval(None, files, None) is None
    assert prompts(load_eval(None, files[0], "train[-1:]") or []) == ["a29"]
    assert sorted(prompts(load_eval(None, files, "train[-1:]") or [])) == ["a29", "b9"]


CARD = """---
configs:
- config_name: en
  data_files:
  - split: train
    path: en/a.jsonl
  - split: test
    path: en/b.jsonl
- config_name: de
  data_files: de/a.jsonl
---
"""


@pytest.fixture
def carded(tmp_path) -> str:
    """A folder whose card has two configs; each file holds one row, its name."""
    for name in ("en/a", "en/b", "de/a"):
        file = tmp_path / "carded" / f"{name}.jsonl"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"prompt": name}))
    (tmp_path / "carded" / "README.md").write_text(CARD)
    return str(tmp_path / "carded")


@pytest.mark.parametrize("streaming", [False, True])
def test_a_config_is_that_of_all_datasets_or_of_each(files, carded, streaming):
    def trained(datasets, configs) -> list[str]:
        return sorted(prompts(load_training(datasets, "train", configs=configs, streaming=streaming)))

    assert trained(carded, "de") == ["de/a"]
    assert trained([carded, carded], "en") == ["en/a", "en/a"]
    assert trained([carded, carded], ["en", "de"]) == ["de/a", "en/a"]
    assert trained([carded, files[1]], ["de", "none"])[-1] == "de/a"
    with pytest.raises(DataError, match=r"b\.jsonl' has no config 'de'"):
        trained([carded, files[1]], "de")
    with pytest.raises(DataError, match="has no config 'fr', only 'en', 'de'"):
        trained(carded, "fr")
    with pytest.raises(DataError, match=r"has several configs, 'en', 'de': choose one \(dataset_config\)"):
        trained(carded, None)


def test_an_eval_dataset_has_its_own_config_or_that_which_is_trained_on(files, carded):
    def evaluated(datasets, split, **configs) -> object:
        found = load_eval(datasets, [carded, files[0]], split, **configs)
        return (
            {name: prompts(rows) for name, rows in found.items()} if isinstance(found, dict) else prompts(found or [])
        )

    trained = ["en", "none"]
    assert evaluated(carded, "test", training_configs=trained) == ["en/b"]
    assert evaluated(carded, None, configs="de", training_configs=trained) == ["de/a"]
    assert evaluated([f"a={carded}", f"b={files[1]}"], "train[:1]", training_configs=trained) == {
        "a": ["en/a"],
        "b": ["b0"],
    }
    assert evaluated([f"a={carded}", f"b={files[1]}"], "train[:1]", configs=["de", "none"])["a"] == ["de/a"]
    assert prompts(load_eval(None, carded, "test", training_configs="en") or []) == ["en/b"]
    assert prompts(load_eval(None, carded, "train", configs="de", training_configs="en") or []) == ["de/a"]


def test_a_path_with_an_equals_sign_is_a_path(tmp_path):
    path = tmp_path / "run=3"
    path.mkdir()
    assert eval_names(str(path)) == {"": str(path)}
    assert eval_names(f"x={path}") == {"x": str(path)}
    assert eval_names("some/set") == {"": "some/set"}


def test_eval_datasets_without_names_of_their_own_are_an_error():
    with pytest.raises(ConfigError, match=r"'b\.jsonl' has no name. Give each .* easy=easy.jsonl hard=hard.jsonl"):
        eval_names(["a=a.jsonl", "b.jsonl"])
    with pytest.raises(ConfigError, match="two datasets are called 'a'"):
        eval_names(["a=a.jsonl", "a=b.jsonl"])


def test_a_file_that_is_not_there_is_found_before_any_is_mixed(files):
    for streaming in (False, True):
        with pytest.raises(DataError, match="does not exist"):
            load_training([files[0], files[1] + "x.jsonl"], "train", streaming=streaming)


def test_the_row_of_a_mixture_is_found_in_its_file(files):
    rows = load_training(files, "train")
    number = prompts(rows).index("b7")
    alone = load_training(files[0], "train")
    for mixed, other in (("train_dataset", "eval_dataset"), ("eval_dataset", "train_dataset")):
        sets = {mixed: rows, other: alone}
        words = place_of(f"{mixed}: row {number}: 'chosen' is None.", sets, files)
        assert words == f" Row {number} of the mixture is row 7 of {files[1]}."
        assert place_of(f"{other}: row {number}: 'chosen' is None.", sets, files) == ""
    stream = load_training(files, "train", streaming=True)
    number = prompts(first_of_each(stream, 8)).index("b7")
    words = place_of(f"train_dataset: row {number}: no.", {"train_dataset": stream}, files, 8)
    assert words == f" Row {number} of the mixture is row 7 of {files[1]}."
    limited = first_of_each(rows, 8)
    number = prompts(limited).index("a7")
    words = place_of(f"train_dataset: row {number}: no.", {"train_dataset": rows}, files, 8)
    assert words == f" Row {number} of the mixture is row 7 of {files[0]}."
    assert place_of(f"eval_dataset['a']: row {number}: 'chosen' is None.", sets, files) == ""


def test_what_is_described_is_where_the_rows_are():
    assert describe("a.jsonl", "train") == "split train of a.jsonl"
    assert describe("org/pairs", "train", "en") == "split train of config en of org/pairs"
    assert describe(["a.jsonl", "b.jsonl"], None) == "the only split of each of a.jsonl, b.jsonl"
