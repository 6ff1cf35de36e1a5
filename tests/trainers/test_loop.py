"""What a run does besides training: evaluates, keeps the best, stops early, answers, and goes on after a kill.

Oracles are shorter runs: with a constant learning rate, the weights of step n are those of a run of n steps.
"""

import json
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import easydel as ed
from easydel.trainers import loop
from easydel.trainers.log import read_metrics
from easydel.trainers.run_folder import read_json, read_samples
from oracles.runs import config, held_out_trainer, id_rows, logged, same_bits, tiny_model, trainer
from oracles.tokenizers import EOS, tiny_tokenizer

QUIET = {"do_last_save": False}
# By step: best at 2, and then not as good again.
LOSSES = {0: 0.7, 2: 0.5, 4: 0.6, 6: 0.55, 8: 0.65, 10: 0.9, 12: 0.8}
SEARCH = {"num_train_epochs": 4, "evaluation_steps": 2, "best_metric": "eval_loss", **QUIET}


def scripted(run: ed.DPOTrainer, losses: dict[int, float], monkeypatch: pytest.MonkeyPatch) -> ed.DPOTrainer:
    """The trainer, with what its evaluations find said in advance, by step."""
    monkeypatch.setattr(run, "_evaluate_state", lambda state: {"eval_loss": losses[int(state.step)]})
    return run


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


def steps_kept(folder: Path) -> list[int]:
    return sorted(int(path.name) for path in (folder / "dpo" / "checkpoints").iterdir())


def killed(run: ed.DPOTrainer, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trains until the process is killed, so to speak, in the middle of a step."""

    def die(now: int, policy: Any) -> None:
        if now == step:
            raise KeyboardInterrupt

    monkeypatch.setattr(run.reference, "after_step", die)
    with pytest.raises(KeyboardInterrupt):
        run.train()


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


def test_evaluation_before_training_can_be_left_out(tmp_path):
    held_out_trainer(tmp_path, evaluate_before_training=False, max_training_steps=1, **QUIET).train()
    assert [entry["step"] for entry in read_metrics(tmp_path / "dpo")] == [1, 1]


def test_each_held_out_set_has_metrics_of_its_own(tmp_path, capsys):
    easy, hard = id_rows(3, seed=1), id_rows(2, seed=2)
    run = held_out_trainer(
        tmp_path,
        {"easy": easy, "hard": hard},
        max_training_steps=1,
        progress_bar_type="tqdm",
        best_metric="eval_hard_loss",
    )
    result = run.train()
    for name, rows in (("easy", easy), ("hard", hard)):
        alone = run.evaluate(rows)
        assert {f"eval_{name}_{key.removeprefix('eval_')}": pytest.approx(alone[key], rel=1e-5) for key in alone} == {
            key: value for key, value in result.metrics.items() if key.startswith(f"eval_{name}_")
        }
    assert "eval_loss" not in result.metrics
    assert run.evaluate() == run.evaluate({"easy": easy, "hard": hard})
    shown = capsys.readouterr().out
    for words in ("rows, held out, hard  2 of 2 rows kept", "step 1/1  eval_easy_loss", "step 1/1  eval_hard_loss"):
        assert words in shown
    assert result.summary.split("\n")[0].split() == ["training", "easy", "hard"]
    assert list(read_json(tmp_path / "dpo" / "data.json")) == ["train", "eval_easy", "eval_hard"]
    assert "held out, hard" in (tmp_path / "dpo" / "report.html").read_text()


def test_the_limits_of_evaluation_hold_for_rows_of_ones_own_too(tmp_path):
    rows = id_rows(5, seed=1)
    run = trainer(tmp_path, eval_batch_size=2, max_evaluation_steps=2)
    assert run.evaluate(rows) == run.evaluate(rows[:4])
    assert run.evaluate({"a": rows}) == {
        name.replace("eval_", "eval_a_"): value for name, value in run.evaluate(rows).items()
    }


TEXT = [{"prompt": f"say {word}:", "chosen": " yes", "rejected": " no"} for word in ("ab", "cd", "ef", "gh")]


def squeezed(text: str) -> str:
    """The text without white space: this tokenizer writes a blank after each character."""
    return "".join(text.split())


@pytest.mark.parametrize("held_out", [True, False], ids=["held out", "trained on"])
def test_prompts_of_the_data_are_answered_when_due(tmp_path, capsys, held_out):
    arguments = config(
        tmp_path,
        **{"total_batch_size": 2, "num_train_epochs": 2, "progress_bar_type": "tqdm", "max_length": None, **QUIET},
        **{"generation_prompts": 2, "generation_interval": 3, "generation_max_new_tokens": 3},
    )
    other = [{**row, "prompt": f"tell {at}:"} for at, row in zip("xyzw", TEXT, strict=True)]
    run = ed.DPOTrainer(
        arguments, tiny_model(eos_token_id=EOS), None, tiny_tokenizer(), TEXT, other if held_out else None
    )
    run.train()
    prompts = ["tell x:", "tell z:"] if held_out else ["say ab:", "say ef:"]
    samples = read_samples(tmp_path / "dpo")
    found = [(sample["step"], squeezed(sample["prompt"])) for sample in samples]
    assert found == [(step, squeezed(prompt)) for step in (0, 3, 4) for prompt in prompts]
    shown = squeezed(capsys.readouterr().out)
    for first in (f"{prompts[0]} step 3:", f"{prompts[0]} step 0:"):  # once when it is due, once more at the end
        assert shown.count(squeezed(first)) == 1
    assert "1 in between" in (tmp_path / "dpo" / "report.html").read_text()


def test_the_last_answers_are_those_of_the_weights_that_the_run_gives_back(tmp_path, monkeypatch, capsys):
    options = {
        "generation_prompts": 1,
        "generation_max_new_tokens": 3,
        "load_best_at_end": True,
        "progress_bar_type": "tqdm",
    }
    arguments = config(tmp_path, **{"total_batch_size": 2, "max_length": None, **SEARCH, **options})
    run = ed.DPOTrainer(arguments, tiny_model(eos_token_id=EOS), None, tiny_tokenizer(), TEXT, TEXT[:1])
    weights: dict[int, Any] = {}
    answer = run._answer
    monkeypatch.setattr(run, "_answer", lambda params, step: (weights.update({step: params}), answer(params, step))[1])
    result = scripted(run, LOSSES, monkeypatch).train()
    assert same_bits(weights[8], result.model.params)
    assert [(each["step"], each.get("weights")) for each in read_samples(tmp_path / "dpo")] == [(0, None), (8, 2)]
    assert "step 8, best weights, of step 2:" in capsys.readouterr().out


def test_checkpoints_are_saved_by_the_clock_too(tmp_path, monkeypatch):
    now = [0.0]
    run = trainer(tmp_path, num_train_epochs=3, save_interval_minutes=0.5, **QUIET)
    go_on = run.reference.after_step
    monkeypatch.setattr(loop.time, "monotonic", lambda: now[0])

    def a_step(step: int, policy: Any) -> None:
        now[0] += 14.0
        go_on(step, policy)

    monkeypatch.setattr(run.reference, "after_step", a_step)
    run.train()
    assert steps_kept(tmp_path) == [3, 6, 9]


class Again:
    """A stream that can be read as often as one likes."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.rows = rows

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.rows)


def stream_trainer(folder: Path, rows: Any, **options: Any) -> ed.DPOTrainer:
    arguments = config(folder, **{"shuffle_train_dataset": False, **QUIET, **options})
    return ed.DPOTrainer(arguments=arguments, model=tiny_model(), train_dataset=rows, eval_dataset=id_rows(3, seed=1))


def test_a_stream_trains_as_a_list_does_and_counts_its_rows_at_the_end(tmp_path):
    options = {"num_train_epochs": 2, "shuffle_train_dataset": False}
    listed = held_out_trainer(tmp_path / "list", **options, **QUIET).train()
    stream = stream_trainer(tmp_path / "stream", Again(id_rows(12)), max_training_steps=6).train()
    assert same_bits(stream.model.params, listed.model.params)
    assert logged(tmp_path / "stream", "epoch") == [0, 0, 1, 1, 1, 2]  # whole passes
    assert read_json(tmp_path / "stream" / "dpo" / "data.json")["train"]["kept"] == 12


def test_a_stream_that_was_cut_off_continues_bit_for_bit(tmp_path, monkeypatch):
    options = {"max_training_steps": 6, "save_steps": 2}
    straight = stream_trainer(tmp_path / "straight", Again(id_rows(12)), **options).train()
    killed(stream_trainer(tmp_path / "cut", Again(id_rows(12)), **options), 5, monkeypatch)
    resumed = stream_trainer(tmp_path / "cut", Again(id_rows(12)), resume="auto", **options).train()
    assert same_bits(resumed.model.params, straight.model.params)
    assert logged(tmp_path / "cut", "loss") == logged(tmp_path / "straight", "loss")


def test_a_stream_that_ends_early_ends_the_run_as_its_last_step_would(tmp_path):
    run = stream_trainer(tmp_path, iter(id_rows(12)), max_training_steps=50, log_steps=2, save_steps=100)
    with pytest.warns(UserWarning, match="max_training_steps"):
        result = run.train()
    entries = read_metrics(tmp_path / "dpo")
    assert [(entry["step"], "eval_loss" in entry) for entry in entries] == [
        *((0, True), (2, False), (3, False), (3, True))
    ]
    assert result.checkpoint_path is not None
    assert result.checkpoint_path.name == "3"
    assert "3 of 50, stopped early" in result.summary


def test_the_rows_that_were_cut_or_dropped_are_counted_in_the_run_folder(tmp_path):
    long = {"prompt_ids": [2] * 40, "chosen_ids": [3, 3, 1], "rejected_ids": [4, 4, 1]}
    cut = {"prompt_ids": [2] * 20, "chosen_ids": [3] * 30, "rejected_ids": [4, 4, 1]}
    run = ed.DPOTrainer(
        arguments=config(tmp_path, max_training_steps=1, **QUIET),
        model=tiny_model(),
        train_dataset=[*id_rows(4), long, cut],
    )
    result = run.train()
    counts = json.loads((tmp_path / "dpo" / "data.json").read_text())["train"]
    assert (counts["rows"], counts["kept"]) == (6, 5)
    assert counts["truncated"] == {"max_length": 1}
    assert sum(counts["dropped"].values()) == 1
    assert "5 of 6 rows kept. Dropped: 1" in result.summary


def test_a_run_without_a_finite_evaluation_has_no_best(search):
    result = search(losses=dict.fromkeys(LOSSES, math.nan), load_best_at_end=True).train()
    assert (result.best_step, result.best_metric) == (None, None)


def test_a_part_of_an_epoch_is_trained_and_shares_and_epochs_are_steps_of_it(tmp_path: Path) -> None:
    """1.5 epochs of three steps are five; 0.4 of these is a warm-up of two, at rates of 0 and half of the peak."""
    options = {"num_train_epochs": 1.5, "scheduler": "linear", "warmup_ratio": 0.4, "learning_rate": 0.01}
    intervals = {"save_steps": "epoch", "evaluation_steps": 0.5, "evaluate_before_training": False}
    run = held_out_trainer(tmp_path / "straight", **options, **intervals, **QUIET)
    result = run.train()
    assert result.steps == run.total_steps == 5
    assert logged(tmp_path / "straight", "learning_rate") == pytest.approx([0, 0.005, 0.01, 0.02 / 3, 0.01 / 3])
    assert [entry["step"] for entry in read_metrics(tmp_path / "straight" / "dpo") if "eval_loss" in entry] == [3, 5]
    assert steps_kept(tmp_path / "straight") == [3, 5]
    # Killed after the first epoch, and continued with other intervals: the same rates, the same bits.
    shutil.copytree(tmp_path / "straight", tmp_path / "cut")
    shutil.rmtree(tmp_path / "cut" / "dpo" / "checkpoints" / "5")
    again = held_out_trainer(tmp_path / "cut", **options, log_steps=0.2, save_steps=0.9, resume="auto", **QUIET)
    assert same_bits(again.train().model.params, result.model.params)
    assert logged(tmp_path / "cut", "learning_rate") == logged(tmp_path / "straight", "learning_rate")


def test_the_first_step_of_a_warm_up_changes_no_weight(tmp_path: Path) -> None:
    options = {"scheduler": "constant_with_warmup", "warmup_steps": 2, **QUIET}
    with pytest.warns(UserWarning, match="the only step of the run begins the warm-up"):
        run = trainer(tmp_path, max_training_steps=1, **options)
    assert same_bits(run.train().model.params, tiny_model().params)
