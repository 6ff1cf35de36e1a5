"""The best checkpoint is kept, given back, and a reason to stop.

Oracles are shorter runs: with a constant learning rate, the weights of step n are those of a run of n steps.
"""

import math
import shutil
from pathlib import Path
from typing import Any

import pytest

import easydel as ed
from easydel.trainers.record.files import read_json, read_metrics
from oracles.runs import held_out_trainer, killed, same_bits, scripted, steps_kept, tiny_model, trainer

# Most of the scripted losses only rise, and are said to.
pytestmark = pytest.mark.filterwarnings("ignore:.*overfitting")
QUIET = {"do_last_save": False}
# By step: best at 2, and then not as good again.
LOSSES = {0: 0.7, 2: 0.5, 4: 0.6, 6: 0.55, 8: 0.65, 10: 0.9, 12: 0.8}


SEARCH = {"num_train_epochs": 4, "evaluation_steps": 2, "best_metric": "eval_loss", **QUIET}


@pytest.fixture
def search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes trainers whose evaluations find LOSSES."""

    def make(name: str = "run", losses: dict[int, float] = LOSSES, **options: Any) -> ed.DPOTrainer:
        return scripted(held_out_trainer(tmp_path / name, **{**SEARCH, **options}), losses, monkeypatch)

    return make


@pytest.fixture
def weights_after(tmp_path: Path) -> Any:
    """Gives the weights of the same training, cut to so many steps."""

    def after(steps: int) -> Any:
        options = {"num_train_epochs": 4, "max_training_steps": steps, **QUIET}
        return trainer(tmp_path / f"oracle{steps}", **options).train().model.params

    return after


def test_the_best_checkpoint_is_kept_besides_the_newest(search, tmp_path):
    result = search(save_steps=2, save_total_limit=2).train()
    assert (result.best_step, result.best_metric) == (2, 0.5)
    assert steps_kept(tmp_path / "run") == [2, 10, 12]
    assert read_json(tmp_path / "run" / "dpo" / "best.json") == {
        **{"metric": "eval_loss", "greater": False, "step": 2, "value": 0.5},
        "checkpoint": "checkpoints/2",
    }
    assert result.checkpoint_path is not None
    assert result.checkpoint_path.name == "12"
    assert "eval_loss 0.5 at step 2" in result.summary


def test_a_best_checkpoint_that_is_surpassed_goes_like_any_other(search, tmp_path):
    search(losses={step: 1.0 - step / 100 for step in LOSSES}, save_total_limit=1).train()
    assert steps_kept(tmp_path / "run") == [12]


def test_an_evaluation_that_is_not_finite_never_costs_the_best_checkpoint(search, tmp_path):
    losses = dict(zip(LOSSES, (0.7, 0.5, 0.1, 0.9, math.nan, 0.2, math.nan), strict=True))
    result = search(losses=losses, save_steps=2, save_total_limit=2).train()
    assert (result.best_step, result.best_metric) == (4, 0.1)
    assert steps_kept(tmp_path / "run") == [4, 10, 12]


def test_the_weights_of_the_best_checkpoint_can_be_the_result(search, weights_after, tmp_path):
    result = search(load_best_at_end=True, do_last_save=True).train()
    assert same_bits(result.model.params, weights_after(2))
    model = ed.AutoEasyDeLModelForCausalLM.from_pretrained(
        tmp_path / "run" / "dpo" / "model", sharding_axis_dims=(1, 1, 1, 1, 1)
    )
    assert same_bits(model.params, result.model.params)
    assert "the model has these weights" in result.summary


def test_training_that_only_harms_gives_the_model_as_it_started(search):
    result = search(losses={step: 0.7 + step for step in LOSSES}, load_best_at_end=True).train()
    assert result.best_step == 0
    assert same_bits(result.model.params, tiny_model().params)


def test_a_run_stops_when_patience_is_at_an_end(search, weights_after, tmp_path, capsys):
    result = search(early_stopping_patience=2, log_steps=5, progress_bar_type="tqdm").train()
    assert same_bits(result.model.params, weights_after(6))
    assert [(e["step"], "eval_loss" in e) for e in read_metrics(tmp_path / "run" / "dpo")] == [
        *((0, True), (2, True), (4, True), (5, False), (6, True), (6, False))
    ]
    assert steps_kept(tmp_path / "run")[-1] == 6
    shown = capsys.readouterr().out
    assert "Stopped early after step 6 of 12: eval_loss has been best, 0.5, at step 2, and has not improved" in shown
    assert "6 of 12, stopped early" in shown


def test_the_threshold_is_what_an_improvement_must_exceed(search, tmp_path):
    losses = {0: 0.7, 2: 0.65, 4: 0.62, 6: 0.5}
    result = search(losses=losses, early_stopping_patience=2, early_stopping_threshold=0.1).train()
    assert (result.best_step, read_metrics(tmp_path / "run" / "dpo")[-1]["step"]) == (4, 4)


def test_a_run_that_was_killed_knows_its_best_and_its_patience_again(search, weights_after, tmp_path, monkeypatch):
    options = {"save_steps": 1, "save_total_limit": 1, "early_stopping_patience": 3, "load_best_at_end": True}
    killed(search(**options), 6, monkeypatch)
    assert steps_kept(tmp_path / "run") == [2, 5]
    result = search(**options, resume="auto").train()
    assert read_metrics(tmp_path / "run" / "dpo")[-1]["step"] == 8  # 4, 6 and 8 were no better than 2
    assert (result.best_step, result.best_metric) == (2, 0.5)
    assert same_bits(result.model.params, weights_after(2))
    again = search(**options, resume="auto").train()  # it is over, and stays so
    assert same_bits(again.model.params, result.model.params)
    assert read_metrics(tmp_path / "run" / "dpo")[-1]["step"] == 8
    search(**options | {"early_stopping_patience": 4}, resume="auto").train()
    assert read_metrics(tmp_path / "run" / "dpo")[-1]["step"] == 10


def test_a_best_checkpoint_that_was_deleted_is_not_missed(search, tmp_path, monkeypatch, capsys):
    killed(search(save_steps=5), 6, monkeypatch)
    shutil.rmtree(tmp_path / "run" / "dpo" / "checkpoints" / "2")
    result = search(save_steps=5, resume="auto", progress_bar_type="tqdm", load_best_at_end=True).train()
    assert "The best checkpoint so far, of step 2, is gone" in capsys.readouterr().out
    assert result.best_step == 6


def test_a_run_without_a_finite_evaluation_has_no_best(search):
    result = search(losses=dict.fromkeys(LOSSES, math.nan), load_best_at_end=True).train()
    assert (result.best_step, result.best_metric) == (None, None)
