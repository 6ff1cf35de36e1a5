"""What a run does besides training, when it is due: evaluates, answers, saves, and ends with its stream."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import easydel as ed
from easydel.trainers import loop
from easydel.trainers.record.files import read_json, read_metrics, read_samples
from easydel.trainers.run_plan import RunPlan
from oracles.runs import (
    config,
    held_out_trainer,
    id_rows,
    killed,
    logged,
    same_bits,
    scripted,
    steps_kept,
    tiny_model,
    trainer,
)
from oracles.tokenizers import EOS, tiny_tokenizer

QUIET = {"do_last_save": False}


def test_evaluation_before_training_can_be_left_out(tmp_path):
    held_out_trainer(tmp_path, evaluate_before_training=False, max_training_steps=1, **QUIET).train()
    assert [entry["step"] for entry in read_metrics(tmp_path / "dpo")] == [1, 1]


TEXT = [{"prompt": f"say {word}:", "chosen": " yes", "rejected": " no"} for word in ("ab", "cd", "ef", "gh")]


def squeezed(text: str) -> str:
    """The text without white space: this tokenizer writes a blank after each character."""
    return "".join(text.split())


@pytest.mark.parametrize("held_out", [True, False], ids=["eval", "trained on"])
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


@pytest.mark.filterwarnings("ignore:.* could not be written")
def test_answers_that_can_be_neither_written_nor_read_again_are_shown_at_the_end(tmp_path, capsys):
    options = {"generation_prompts": 1, "generation_max_new_tokens": 3, "progress_bar_type": "tqdm", **QUIET}
    arguments = config(tmp_path, **{"total_batch_size": 2, "max_length": None, **options})
    run = ed.DPOTrainer(arguments, tiny_model(eos_token_id=EOS), None, tiny_tokenizer(), TEXT)
    samples, go_on = tmp_path / "dpo" / "samples.jsonl", run.reference.after_step

    def sabotage(step: int, policy: object) -> None:
        if step == 1:
            samples.unlink()
            samples.mkdir()
        go_on(step, policy)

    run.reference.after_step = sabotage
    assert list(run.train().not_written) == [str(samples), str(tmp_path / "dpo" / "report.html")]
    said = squeezed(capsys.readouterr().out)
    assert all(squeezed(when) in said for when in ("step 0:", "step 2:"))


def test_the_last_answers_are_those_of_the_weights_that_the_run_gives_back(tmp_path, monkeypatch, capsys):
    options = {
        "generation_prompts": 1,
        "generation_max_new_tokens": 3,
        "load_best_at_end": True,
        "progress_bar_type": "tqdm",
    }
    arguments = config(
        tmp_path,
        **{
            "total_batch_size": 2,
            "max_length": None,
            "num_train_epochs": 4,
            "evaluation_steps": 2,
            "best_metric": "eval_loss",
            **QUIET,
            **options,
        },
    )
    run = ed.DPOTrainer(arguments, tiny_model(eos_token_id=EOS), None, tiny_tokenizer(), TEXT, TEXT[:1])
    weights: dict[int, Any] = {}
    answer = loop.answer_samples

    def noting(plan: RunPlan, params: Any, step: int) -> list[dict[str, Any]]:
        weights[step] = params
        return answer(plan, params, step)

    monkeypatch.setattr(loop, "answer_samples", noting)
    result = scripted(run, {0: 0.7, 2: 0.5, 4: 0.6, 6: 0.55, 8: 0.65}, monkeypatch).train()
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
    assert logged(tmp_path / "stream", "epoch") == [0, 0, 1, 1, 1, 1]  # passes whose end was met
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
