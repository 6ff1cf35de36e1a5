"""`test_split_size`: rows of the training data are evaluated on, in one run and when it is continued."""

import json
from pathlib import Path

import pytest

import easydel as ed
from easydel.scripts.finetune import dpo
from easydel.trainers.config import DPOConfig
from easydel.trainers.datasets import make_train_set
from oracles.runs import config, id_rows, logged, same_bits, tiny_model

ROWS = [{**row, "prompt_ids": [at + 2, *row["prompt_ids"]]} for at, row in enumerate(id_rows(12))]


def trainer(folder: Path, **options) -> ed.DPOTrainer:
    options = {"test_split_size": 0.3, "log_logit_metrics": False, **options}
    return ed.DPOTrainer(arguments=config(folder, **options), model=tiny_model(), train_dataset=ROWS)


def test_rows_are_evaluated_on_and_never_trained_on_also_after_a_resume(tmp_path):
    straight = trainer(tmp_path / "straight", num_train_epochs=2, evaluation_steps=1, best_metric="eval_loss")
    held = [pair.index for pair in straight._plan.eval_sets["eval"].loader.pairs]
    assert len(held) == 4  # 3.6 of 12 rows
    assert sorted(held + [pair.index for pair in straight._plan.data.loader.pairs]) == list(range(12))
    result = straight.train()
    assert len(logged(tmp_path / "straight", "eval_loss")) == 1 + 4

    data = json.loads((tmp_path / "straight" / "dpo" / "data.json").read_text())
    assert {name: each["rows"] for name, each in data.items()} == {"train": 8, "eval": 4}
    assert data["eval"]["eval_split"] == {"numbers": held, "of": 12, "asked": 0.3, "seed": 0}

    options = {"num_train_epochs": 2, "evaluation_steps": 1, "best_metric": "eval_loss", "save_steps": 1}
    trainer(tmp_path / "cut", **options, max_training_steps=3).train()
    resumed = trainer(tmp_path / "cut", **options, resume="auto")
    assert [pair.index for pair in resumed._plan.eval_sets["eval"].loader.pairs] == held
    assert same_bits(resumed.train().model.params, result.model.params)


def test_the_start_says_which_rows_are_eval_rows(tmp_path):
    found = make_train_set(config(tmp_path, test_split_size=2, seed=3), ROWS, None, tiny_model()).eval_set
    assert found is not None
    first, second = (pair.index for pair in found.loader.pairs)
    lines = {name.strip(): "".join(piece.text for piece in text) for name, text in found.summary.lines("eval")}
    assert lines["rows, eval"] == "2 of 2 rows kept."
    assert lines["split off"] == f"rows {first}, {second} of 12 (test_split_size 2, seed 3)"


def test_errors_name_the_row_as_it_was_given(tmp_path):
    rows = [*ROWS, {"prompt_ids": [1], "chosen_ids": [99], "rejected_ids": [2]}]
    for size in (2, 0.9):
        with pytest.raises(ed.DataError, match="train_dataset: row 12: chosen holds the token id 99"):
            make_train_set(config(tmp_path, test_split_size=size), rows, None, tiny_model())


def test_a_stream_and_other_evaluation_rows_are_refused(tmp_path):
    options = config(tmp_path, test_split_size=2, max_training_steps=3)
    with pytest.raises(ed.ConfigError, match="test_split_size = 2 cannot be split off a stream"):
        make_train_set(options, iter(ROWS), None, tiny_model())
    with pytest.raises(ed.ConfigError, match=r"test_split_size = 2 takes .* and eval_dataset gives others: drop one"):
        ed.DPOTrainer(options, tiny_model(), train_dataset=ROWS, eval_dataset=ROWS)
    given = ["--repo_id", "m", "--dataset_name", "d", "--test_split_size", "0.1"]
    for flags in (["--eval_dataset_name", "e"], ["--eval_dataset_split", "test"]):
        with pytest.raises(ed.ConfigError, match=f"--test_split_size 0.1 takes .* and {flags[0]} names others"):
            dpo.parse([*given, *flags])
    with pytest.raises(ed.ConfigError, match=r"--test_split_size 0\.1 cannot take eval rows from a stream"):
        dpo.parse([*given, "--streaming", "--max_training_steps", "3"])


@pytest.mark.parametrize("size", [0, -1, 1.5, 2.25, "half", True])
def test_what_is_no_share_and_no_number_of_rows_is_refused(size):
    with pytest.raises(ed.ConfigError, match="test_split_size"):
        DPOConfig(test_split_size=size)


def test_the_quick_start_holds_out_its_own_rows_where_it_is_asked_to():
    run, settings = dpo.parse(["--test_split_size", "0.1"])
    assert (run.eval_dataset_name, settings.test_split_size) == (None, 0.1)
