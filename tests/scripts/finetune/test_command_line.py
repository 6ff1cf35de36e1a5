"""From words of a command line to what is loaded and how it is trained."""

import re
import shlex
from pathlib import Path

import pytest

from easydel.errors import ConfigError
from easydel.scripts.finetune.command_line import QUICK_START, parse
from easydel.scripts.finetune.run_config import RunConfig
from easydel.trainers.config import DPOConfig
from oracles.tutorial import COMMAND

SOMETHING = ["--repo_id", "model", "--dataset_name", "rows.jsonl"]


def test_the_command_of_the_tutorial_is_read_as_written():
    run, config = parse(shlex.split(COMMAND))
    assert run == RunConfig(
        repo_id="meta-llama/Llama-3.1-8B-Instruct",
        dataset_name="trl-lib/ultrafeedback_binarized",
        dataset_split="train[:90%]",
        reference_model_repo_id="meta-llama/Llama-3.1-8B-Instruct",
        attn_mechanism="vanilla",
    )
    assert config == DPOConfig(
        beta=0.08,
        loss_type="sigmoid",
        max_length=2048,
        max_prompt_length=1024,
        total_batch_size=16,
        learning_rate=1e-6,
        log_steps=50,
        num_train_epochs=3,
        do_last_save=True,
        save_steps=1000,
        use_wandb=True,
    )


@pytest.mark.parametrize("flag", ["--reference-model-repo-id", "--refrence_model_repo_id"])
def test_both_spellings_of_the_reference_model_are_read(flag):
    run, _ = parse([*SOMETHING, flag, "c"])
    assert run.reference_model_repo_id == "c"


@pytest.mark.parametrize(
    ("flag", "here"),
    [
        ("--max-grad-norm", "--clip_grad"),
        ("--eval_steps", "--evaluation_steps"),
        ("--no_use_peft", "--lora_rank: a rank makes adapters; without, all weights are trained"),
        ("--saves_per_epoch", "--save_steps: a share of the run, 1 / (times per epoch x num_train_epochs), or 'epoch'"),
        ("--output_dir", "--save_directory: model_name is the folder in it"),
        ("--activation_checkpointing", "--gradient_checkpointing: a policy such as nothing_saveable"),
        ("--model_name_or_path", "--repo_id"),
    ],
)
def test_a_flag_of_another_program_is_answered_with_ours(flag, here):
    with pytest.raises(ConfigError, match=rf"unknown flag {flag}\. Use {re.escape(here)}\.$"):
        parse([flag, "1"])


def test_without_model_and_data_the_quick_start_runs_under_the_flags_given():
    run, config = parse(["--beta", "0.2", "--no_compilation_cache"])
    assert Path(run.repo_id).is_dir()
    assert Path(run.dataset_name).is_file()
    assert Path(run.eval_dataset_name or "").is_file()
    assert not run.compilation_cache
    assert config == DPOConfig(**{**QUICK_START, "beta": 0.2})


@pytest.mark.parametrize(
    ("flags", "scheduler", "warmup"),
    [
        ("--warmup_ratio 0.1", "linear", (0, 0.1)),
        ("--lr_scheduler_type cosine", "cosine", (5, None)),
        ("--scheduler constant", "constant", (0, None)),
        ("--lr_scheduler_type constant", "constant", (0, None)),
        ("--scheduler constant_with_warmup", "constant_with_warmup", (5, None)),
    ],
)
def test_a_flag_takes_the_place_of_a_default_of_the_quick_start_that_it_contradicts(flags, scheduler, warmup):
    config = parse(flags.split())[1]
    assert (config.scheduler, (config.warmup_steps, config.warmup_ratio)) == (scheduler, warmup)


def test_an_epoch_of_a_stream_is_an_error_before_anything_is_loaded():
    with pytest.raises(ConfigError, match="save_steps = 'epoch' needs rows with a length"):
        parse([*SOMETHING, "--streaming", "--max_training_steps", "10", "--save_steps", "epoch"])
    with pytest.raises(ConfigError, match=r"num_train_epochs = 0\.5 has no meaning for a stream"):
        parse([*SOMETHING, "--streaming", "--max_training_steps", "10", "--num_train_epochs", "0.5"])


@pytest.mark.parametrize("flags", [["--evaluation_steps", "epoch"], ["--best_metric", "eval_loss"]])
def test_evaluations_without_rows_are_an_error_before_anything_is_loaded(flags):
    with pytest.raises(ConfigError, match=f"{' '.join(flags)} needs eval rows: .* --test_split_size"):
        parse([*SOMETHING, *flags])
    for rows in (["--eval_dataset_name", "e"], ["--eval_dataset_split", "test"], ["--test_split_size", "9"]):
        parse([*SOMETHING, *flags, *rows])


def test_what_a_schedule_is_told_is_json_as_in_transformers_or_pairs():
    given = ["--scheduler", "cosine_with_min_lr", "--lr_scheduler_kwargs"]
    for words in (['{"min_lr_rate": 0.1, "num_cycles": 1}'], ["min_lr_rate=0.1", "num_cycles=1"]):
        config = parse([*SOMETHING, *given, *words])[1]
        assert config.lr_scheduler_kwargs == {"min_lr_rate": 0.1, "num_cycles": 1}


def test_several_datasets_are_named_with_spaces_or_commas():
    for flags in (
        ["a.jsonl", "b.jsonl", "--dataset_weights", "0.7", "0.3"],
        ["a.jsonl,b.jsonl", "--dataset_weights=0.7,0.3"],
    ):
        run, _ = parse(
            ["--repo_id", "model", "--dataset_name", *flags, "--eval_dataset_name", "easy=e.jsonl", "hard=h.jsonl"]
        )
        assert (run.dataset_name, run.dataset_weights) == (["a.jsonl", "b.jsonl"], [0.7, 0.3])
        assert run.eval_dataset_name == ["easy=e.jsonl", "hard=h.jsonl"]


def test_a_reference_of_a_loss_without_one_is_an_error_before_anything_is_loaded():
    for words in (["--reference_free"], ["--loss_type", "simpo"]):
        with pytest.raises(ConfigError, match=f"{' '.join(words)} trains without a reference, but --reference_model"):
            parse([*SOMETHING, *words, "--reference_model_repo_id", "x"])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--streaming"], "--streaming reads pairs during training .* set --max_training_steps"),
        (
            ["--test_split_size", "0.1", "--eval_dataset_split", "test"],
            "takes eval rows from --dataset_name, and",
        ),
        (
            ["--test_split_size", "0.1", "--streaming", "--max_training_steps", "9"],
            "cannot take eval rows from a stream, whose rows",
        ),
    ],
)
def test_rows_that_cannot_be_had_are_an_error_before_anything_is_loaded(flags, message):
    with pytest.raises(ConfigError, match=message):
        parse([*SOMETHING, *flags])
