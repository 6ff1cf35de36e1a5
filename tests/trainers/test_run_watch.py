"""A run that watches itself: what it says of signs, once, where, and that it ends at those it was told to."""

import re

import jax
import jax.numpy as jnp
import pytest

import easydel as ed
from easydel import quickstart
from easydel.data.pair import Pair
from easydel.data.source import load_rows
from easydel.scripts.finetune.command_line import QUICK_START
from easydel.scripts.loading import load_tokenizer
from easydel.trainers.record.files import read_metrics, read_signs
from easydel.trainers.run_watch import adapter_fingerprints, length_rule
from easydel.trainers.warning_signs import LengthRule
from oracles.runs import config, held_out_trainer, id_rows, steps_kept, tiny_model, trainer

# Weights in bfloat16 have 8 bits: they do not move at such a rate.
STUCK = {"param_dtype": "bfloat16", "learning_rate": 1e-9, "num_train_epochs": 3, "do_last_save": False}


def test_a_run_whose_weights_do_not_move_says_so_once_and_in_its_folder_report_and_summary(tmp_path, capsys):
    with pytest.warns(UserWarning, match=r"Step 3, nothing_learned: .* exactly .* 0\.693147, .*learning_rate") as said:
        trainer(tmp_path, progress_bar_type="tqdm", **STUCK).train()
    assert len([each for each in said if "nothing_learned" in str(each.message)]) == 1
    [sign] = read_signs(tmp_path / "dpo")
    assert (sign["step"], sign["sign"]) == (3, "nothing_learned")
    assert "0.693147" in sign["message"]
    assert re.search(r"warning signs +nothing_learned at step 3", capsys.readouterr().out)
    report = (tmp_path / "dpo" / "report.html").read_text()
    assert "Warning signs" in report
    assert "nothing_learned" in report


def test_a_run_that_learns_says_nothing(tmp_path):
    held_out_trainer(tmp_path, num_train_epochs=4, evaluation_steps=2, do_last_save=False).train()
    assert not (tmp_path / "dpo" / "signs.jsonl").exists()
    assert "Warning signs" not in (tmp_path / "dpo" / "report.html").read_text()


@pytest.mark.filterwarnings("ignore:.*nothing_learned")
@pytest.mark.parametrize("stop_on", [["nothing_learned"], ["any"], ["gradient_spike", "nothing_learned"]])
def test_a_run_ends_at_a_sign_that_it_was_told_to_end_at_saved_and_evaluated(tmp_path, stop_on, capsys):
    options = {**STUCK, "stop_on": stop_on, "log_steps": 2, "progress_bar_type": "tqdm"}
    held_out_trainer(tmp_path, **options).train()
    lines = [(entry["step"], "eval_loss" in entry) for entry in read_metrics(tmp_path / "dpo")]
    assert lines == [(0, True), (2, False), (4, False), (4, True)]
    assert steps_kept(tmp_path) == [4]
    said = capsys.readouterr().out
    assert "Stopped after step 4 of 9 by nothing_learned (stop_on)" in said
    assert "4 of 9, stopped early" in said


@pytest.mark.filterwarnings("ignore:.*nothing_learned")
def test_a_run_that_ended_at_a_sign_goes_on_without_it_and_does_not_say_it_again(tmp_path):
    trainer(tmp_path, **STUCK, stop_on=["nothing_learned"]).train()
    assert steps_kept(tmp_path) == [3]
    trainer(tmp_path, **STUCK, stop_on=["nothing_learned"], resume="auto").train()
    assert steps_kept(tmp_path) == [3]
    trainer(tmp_path, **STUCK, stop_on=["gradient_spike"], resume="auto").train()
    assert steps_kept(tmp_path)[-1] == 9
    assert [sign["step"] for sign in read_signs(tmp_path / "dpo")] == [3]


@pytest.mark.filterwarnings("ignore:.*nothing_learned")
def test_a_spike_of_the_gradient_ends_a_run_between_two_logged_steps(tmp_path, monkeypatch):
    run = trainer(tmp_path, num_train_epochs=10, log_steps=100, stop_on=["gradient_spike"], do_last_save=False)
    known, steps = run.reference.after_step, []

    def note(step: int, policy: object) -> None:
        steps.append(step)
        known(step, policy)

    monkeypatch.setattr(run.reference, "after_step", note)
    monkeypatch.setattr("easydel.trainers.warning_signs._SPIKE", 0.0)  # any is one, once there are enough before it
    with pytest.warns(UserWarning, match=r"gradient_spike: the gradient norm of step 21 is"):
        run.train()
    assert steps[-1] == 25  # four steps may be under way before one is looked at
    assert read_metrics(tmp_path / "dpo")[-1]["step"] == 25


def test_adapters_that_no_gradient_reaches_are_found_and_named(tmp_path, monkeypatch):
    model = tiny_model()
    arguments = config(tmp_path, lora_rank=2, num_train_epochs=3, do_last_save=False)
    monkeypatch.setattr("easydel.trainers.run_watch.adapter_fingerprints", lambda params: {"layers.query.lora_b": "0"})
    with pytest.warns(UserWarning, match=r"Step 4, adapters_unmoved: .* in 4 steps: layers\.query\.lora_b"):
        ed.DPOTrainer(arguments=arguments, model=model, train_dataset=id_rows(12)).train()


def test_adapters_are_told_from_other_weights_and_by_a_single_bit():
    params = {"query": {"kernel": jnp.ones((2, 3)), "lora_a": jnp.ones((2, 3)), "lora_b": jnp.zeros((3, 2))}}
    before = adapter_fingerprints(params)
    assert list(before) == ["query.lora_a", "query.lora_b"]
    moved = jax.tree.map(lambda x: x, params)
    moved["query"]["lora_b"] = moved["query"]["lora_b"].at[1, 1].set(1e-30)
    after = adapter_fingerprints(moved)
    assert after["query.lora_a"] == before["query.lora_a"]
    assert after["query.lora_b"] != before["query.lora_b"]
    assert adapter_fingerprints({"kernel": jnp.ones(2)}) == {}


def test_a_rule_of_length_takes_the_better_side_and_half_of_a_tie():
    def pair(chosen: int, rejected: int) -> Pair:
        return Pair([1], [2] * chosen, [3] * rejected)

    assert length_rule([pair(3, 2), pair(3, 2), pair(3, 2), pair(1, 2)]) == LengthRule(4, 0.75)
    assert length_rule([pair(1, 2), pair(1, 2), pair(1, 2), pair(3, 2)]) == LengthRule(4, 0.75)
    assert length_rule([pair(3, 2), pair(2, 2)]) == LengthRule(2, 0.75)
    assert length_rule([]) == LengthRule(0, 0.5)


@pytest.mark.parametrize(
    ("stop_on", "needs"),
    [
        ("overfitting", "eval rows"),
        ("length_only", "eval rows"),
        ("answers_repeat", "generation_prompts >= 8"),
        ("adapters_unmoved", "adapters: set lora_rank"),
    ],
)
def test_a_sign_that_a_run_cannot_show_is_refused(tmp_path, stop_on, needs):
    with pytest.raises(ed.ConfigError, match=f"stop_on = '{stop_on}' needs .*{needs}"):
        trainer(tmp_path, stop_on=[stop_on]).train()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*chosen_falling", "ignore:.*gradient_spike")
def test_the_quick_start_at_a_hundred_times_its_rate_ends_at_the_fall_of_its_chosen_completions(tmp_path):
    settings = {**QUICK_START, "learning_rate": 1e-2, "log_steps": 3, "evaluation_steps": 3, "generation_prompts": 0}
    arguments = ed.DPOConfig(
        **{**settings, "save_directory": str(tmp_path), "stop_on": ["chosen_falling"], "do_last_save": False}
    )
    folder = str(quickstart.model_folder())
    ed.DPOTrainer(
        arguments,
        ed.AutoEasyDeLModelForCausalLM.from_pretrained(folder, dtype="float32"),
        processing_class=load_tokenizer(folder, None),
        train_dataset=list(load_rows(str(quickstart.train_file()))),
        eval_dataset=list(load_rows(str(quickstart.eval_file())))[:32],
    ).train()
    run = tmp_path / arguments.model_name
    last = read_metrics(run)[-1]["step"]
    assert last < 30  # of 75
    assert ("chosen_falling", last) in [(sign["sign"], sign["step"]) for sign in read_signs(run)]
