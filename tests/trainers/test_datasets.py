"""The data of a run: which sets there are, what they are called, and what is refused."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import easydel as ed
from easydel.data import tokenize_rows
from easydel.data.batch_layout import BatchLayout
from easydel.data.loader import START
from easydel.data.mix import mix
from easydel.trainers import datasets
from easydel.trainers.config import DPOConfig
from easydel.trainers.datasets import make_eval_sets, make_train_set
from oracles.runs import id_rows, tiny_model

MODEL = tiny_model()


class Again:
    """A stream that starts afresh each time."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.rows = rows

    def __iter__(self):
        yield from self.rows


def sets_of(dataset: Any, **options: Any) -> dict[str, Any]:
    return make_eval_sets(DPOConfig(cache_directory=None, **options), dataset, "eval_dataset", None, MODEL)


def test_one_set_is_called_eval_and_those_of_a_dict_by_their_names():
    assert {name: each.summary.counts.kept for name, each in sets_of(id_rows(3)).items()} == {"eval": 3}
    named = sets_of({"easy": id_rows(3), "hard": id_rows(2)})
    assert {name: each.summary.counts.kept for name, each in named.items()} == {"eval_easy": 3, "eval_hard": 2}
    assert [each.name for each in named.values()] == ["eval_dataset['easy']", "eval_dataset['hard']"]


def test_the_pairs_of_an_evaluation_batch_are_those_of_a_micro_batch_unless_it_is_said():
    options = {"total_batch_size": 8, "gradient_accumulation_steps": 4}
    assert sets_of(id_rows(3), **options)["eval"].loader.layout.total_batch_size == 2
    assert sets_of(id_rows(3), **options, eval_batch_size=3)["eval"].loader.layout.total_batch_size == 3


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        ({}, "eval_dataset is a dict without a set"),
        ({"": []}, "a set named '': its metrics need a name without spaces"),
        ({"two words": []}, "a set named 'two words'"),
        ({3: []}, "a set named 3"),
        ({"easy": id_rows(2), "hard": []}, r"eval_dataset\['hard'\]: there are no rows"),
        ({"prompt": ["a"], "chosen": ["b"]}, "eval_dataset: row 0 has no 'rejected'"),
    ],
)
def test_sets_that_cannot_be_evaluated_on_are_named(dataset, message):
    with pytest.raises(ed.DataError, match=message):
        sets_of(dataset)


def test_a_buffer_to_shuffle_is_for_streams():
    config = DPOConfig(shuffle_buffer_size=8)
    with pytest.raises(ed.ConfigError, match="shuffle_buffer_size = 8 is for streams"):
        make_train_set(config, id_rows(3), None, MODEL)


def test_a_stream_needs_to_be_told_how_long_to_train():
    with pytest.raises(ed.ConfigError, match="max_training_steps"):
        make_train_set(DPOConfig(cache_directory=None), iter(id_rows(3)), None, MODEL)


def test_a_stream_cannot_be_known_before_training():
    config = DPOConfig(max_training_steps=3, precompute_ref_log_probs=True)
    with pytest.raises(ed.ConfigError, match="precompute_ref_log_probs = True needs all rows before training"):
        make_train_set(config, iter(id_rows(3)), None, MODEL)


def test_errors_of_rows_say_which_dataset(tmp_path: Path):
    rows = [*id_rows(2), {"prompt_ids": [1], "chosen_ids": [99], "rejected_ids": [2]}]
    for data in (rows, iter(rows)):
        with pytest.raises(ed.DataError, match="train_dataset: row 2"):
            make_train_set(DPOConfig(cache_directory=None, max_training_steps=1), data, None, MODEL)


def test_an_error_in_the_middle_of_a_stream_says_which_dataset_too():
    rows = [*id_rows(50), {"prompt_ids": [1], "chosen_ids": [99], "rejected_ids": [2]}]
    options = {"max_training_steps": 20, "total_batch_size": 4, "shuffle_buffer_size": 4}
    config = DPOConfig(cache_directory=None, **options)
    batches = make_train_set(config, iter(rows), None, MODEL).batches(START, epochs=1)
    with pytest.raises(ed.DataError, match="train_dataset: row 50"):
        list(batches)


@pytest.mark.parametrize(
    ("options", "stream", "expected"),
    [
        ({"num_train_epochs": 2}, False, 6),
        ({"num_train_epochs": 2, "max_training_steps": 5}, False, 5),
        ({"num_train_epochs": 2, "max_training_steps": 50}, False, 6),
        ({"num_train_epochs": 0.5}, False, 2),  # of three steps, rounded up
        ({"num_train_epochs": 1.5}, False, 5),
        ({"num_train_epochs": 0.1}, False, 1),
        ({"max_training_steps": 50}, True, 50),
    ],
)
def test_the_steps_of_a_run_are_those_of_its_epochs_up_to_the_limit(options, stream, expected):
    config = DPOConfig(total_batch_size=4, cache_directory=None, **options)
    rows = id_rows(12)
    assert make_train_set(config, iter(rows) if stream else rows, None, MODEL).intervals.total_steps == expected


def test_longer_rows_cost_more_where_attention_is_over_a_dense_mask_only(monkeypatch: pytest.MonkeyPatch):
    rows, taken = id_rows(3), []
    make = datasets.make_loader

    def noting(pairs: list, layout: BatchLayout, **settings: Any) -> Any:
        taken.append(layout.length_cost)
        return make(pairs, layout, **settings)

    monkeypatch.setattr(datasets, "make_loader", noting)
    for mechanism in ("vanilla", "sdpa", "blockwise"):
        model = tiny_model(attn_mechanism=mechanism)
        make_train_set(DPOConfig(cache_directory=None), rows, None, model)
    assert taken == [1 / (6 * model.config.hidden_size)] * 2 + [0.0]


def test_rows_under_other_names_and_in_columns_become_the_same_pairs():
    rows = id_rows(3)
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    renamed = {name.replace("chosen", "best"): values for name, values in columns.items()}
    expected = sets_of(rows)["eval"].loader.pairs
    assert sets_of(columns)["eval"].loader.pairs == expected
    assert sets_of(renamed, columns={"chosen_ids": "best_ids"})["eval"].loader.pairs == expected


def test_the_first_rows_are_trained_on_and_evaluated_on():
    rows = [{**row, "prompt_ids": [at + 2, 3]} for at, row in enumerate(id_rows(9))]
    options = {"cache_directory": None, "max_samples": 4}
    for given in (rows, {name: [row[name] for row in rows] for name in rows[0]}):
        found = make_train_set(DPOConfig(**options), given, None, MODEL)
        assert [pair.index for pair in found.loader.pairs] == [0, 1, 2, 3]
    lines = {name.strip(): text[0].text for name, text in found.summarize().lines("train")}
    assert lines["rows, train"] == "4 of 4 rows kept."
    assert lines["taken"] == "at most 4 rows of each dataset, the first (max_samples)"
    assert found.summarize().values()["max_samples"] == 4
    sets = sets_of({"easy": rows, "hard": mix([rows, rows[:3]])}, max_samples=4)
    assert {name: each.summary.counts.kept for name, each in sets.items()} == {"eval_easy": 4, "eval_hard": 7}
    held = make_train_set(DPOConfig(**options, test_split_size=0.5), rows, None, MODEL).eval_set
    assert held is not None
    assert held.summary.counts.kept == 2
    assert {pair.index for pair in held.loader.pairs} < {0, 1, 2, 3}


def test_the_first_rows_of_a_stream_are_read_again_and_again():
    rows = [{**row, "prompt_ids": [at + 2, 3]} for at, row in enumerate(id_rows(9))]
    config = DPOConfig(
        cache_directory=None, max_samples=4, max_training_steps=4, total_batch_size=2, shuffle_train_dataset=False
    )
    data = make_train_set(config, Again(rows), None, MODEL)
    batches = [batch for _, batch in data.batches(START, epochs=1)]
    assert [sorted(np.unique(batch.index[batch.index >= 0]).tolist()) for batch in batches] == [[0, 1], [2, 3]] * 2


class Counted(list):
    """Rows that count how many of them were read; without a length where that is asked for."""

    read = 0

    def __iter__(self):
        for row in list.__iter__(self):
            self.read += 1
            yield row


def endless(rows: list[dict[str, Any]], asked: list[int]) -> Iterator[dict[str, Any]]:
    for at, row in enumerate(itertools.cycle(rows)):
        asked.append(at)
        yield row


@pytest.fixture
def tokenized(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of rows of each chunk that was tokenized."""
    chunks: list[int] = []
    read = tokenize_rows.read_tokens

    def counting(rows: Any, *rest: Any, **options: Any) -> Any:
        chunks.append(len(rows))
        return read(rows, *rest, **options)

    monkeypatch.setattr(tokenize_rows, "read_tokens", counting)
    return chunks


@pytest.mark.parametrize("cache", [None, "somewhere"])
def test_eval_rows_are_read_as_far_as_they_are_evaluated_on(tokenized, tmp_path, cache):
    """Eight of 20,000, which are the same pairs as without the limit."""
    rows = Counted(id_rows(20_000))
    options = {"max_evaluation_steps": 2, "total_batch_size": 4}
    config = DPOConfig(cache_directory=cache and str(tmp_path), **options)
    [found] = make_eval_sets(config, rows, "eval_dataset", None, MODEL).values()
    assert (rows.read, sum(tokenized), len(found.loader.pairs)) == (8, 8, 8)
    assert found.loader.pairs == sets_of(rows[:100], total_batch_size=4)["eval"].loader.pairs[:8]
    assert found.summary.values()["max_pairs"] == 8
    lines = {label.strip(): pieces[0].text for label, pieces in found.summary.lines("eval")}
    assert lines["read"] == "as far as 8 pairs need, which is all that is evaluated on (max_evaluation_steps)"


def test_eval_rows_that_are_dropped_are_made_up_for(tokenized):
    rows = Counted([row | ({"rejected_ids": []} if at % 2 else {}) for at, row in enumerate(id_rows(500))])
    found = sets_of(rows, max_evaluation_steps=5, eval_batch_size=4)["eval"]
    assert (len(found.loader.pairs), rows.read, sum(tokenized)) == (20, 39, 39)
    assert found.summary.counts.rows == 39


def test_fewer_eval_rows_than_are_evaluated_on_are_all_read():
    for rows in (id_rows(8), id_rows(5), iter(id_rows(5))):
        [found] = sets_of(rows, max_evaluation_steps=2, total_batch_size=4).values()
        assert "max_pairs" not in found.summary.values()


def test_an_eval_stream_without_an_end_is_read_as_far_as_it_is_evaluated_on():
    asked: list[int] = []
    found = sets_of(endless(id_rows(9), asked), max_evaluation_steps=3, eval_batch_size=2)["eval"]
    assert len(found.loader.pairs) == len(asked) == 6


def test_an_endless_eval_stream_of_rows_that_are_all_dropped_is_an_error():
    asked: list[int] = []
    with pytest.raises(ed.DataError, match="eval_dataset: no row is left"):
        sets_of(endless([id_rows(1)[0] | {"rejected_ids": []}], asked), max_evaluation_steps=3, eval_batch_size=2)
    assert len(asked) == 64 * 6


def test_enough_eval_pairs_are_read_for_the_prompts_that_are_completed():
    found = sets_of(id_rows(50), max_evaluation_steps=1, eval_batch_size=2, generation_prompts=7)["eval"]
    assert len(found.loader.pairs) == 7
