"""No option is accepted and ignored: set alone, it changes what a run computes or writes, or it is refused."""

import dataclasses
import hashlib
import json
import warnings
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

import easydel as ed
from easydel.errors import ConfigError
from easydel.models.causal_lm import CausalLM
from easydel.models.config import ModelConfig
from easydel.sharding import make_mesh
from oracles.runs import TINY, without_clock
from oracles.tiny import ONE_DEVICE
from oracles.tokenizers import tiny_tokenizer

WITH_DROPOUT = ModelConfig.from_hf({**TINY.to_hf(), "attention_dropout": 0.5, "eos_token_id": 2})
MODEL = CausalLM.from_config(WITH_DROPOUT, mesh=make_mesh(ONE_DEVICE))
BASE: dict[str, Any] = {"learning_rate": 1e-2, "total_batch_size": 4, "log_steps": 1, "progress_bar_type": "none"}
# Each option with another value than its default, or than BASE has.
OTHERS: dict[str, Any] = {
    "model_name": "other",
    "seed": 1,
    "save_steps": 1,
    "do_last_save": False,
    "save_dtype": "bfloat16",
    "push_to_hub": True,
    "hub_model_id": "me/tuned",
    "hub_private_repo": True,
    "log_steps": 2,
    "log_logit_metrics": False,
    "report_to": ["tensorboard"],
    "use_wandb": True,
    "wandb_entity": "me",
    "wandb_name": "mine",
    "profile_steps": 1,
    "loss_type": "ipo",
    "loss_weights": [2.0],
    "beta": 0.3,
    "label_smoothing": 0.1,
    "rpo_alpha": 0.5,
    "use_weighting": True,
    "ld_alpha": 0.5,
    "f_divergence_type": "forward_kl",
    "f_alpha_divergence_coef": 0.3,
    "discopop_tau": 0.1,
    "length_penalty": 0.1,
    "dpop_lambda": 5.0,
    "score_scale": 0.5,
    "odpo_alpha": 0.5,
    "bco_running_mean": True,
    "simpo_gamma": 1.0,
    "alphapo_alpha": 0.5,
    "cpo_alpha": 0.5,
    "router_aux_loss_coef": 0.1,
    "reference_free": True,
    "sync_ref_model": True,
    "ref_model_sync_steps": 1,
    "ref_model_mixup_alpha": 0.5,
    "precompute_ref_batch_size": 2,
    "max_length": 6,
    "max_prompt_length": 2,
    "max_completion_length": 2,
    "truncation_mode": "keep_end",
    "columns": {"prompt": "question"},
    "max_samples": 4,
    "test_split_size": 4,
    "chat_template_date": "2026-11-28",
    "total_batch_size": 8,
    "eval_batch_size": 2,
    "num_train_epochs": 2,
    "max_training_steps": 1,
    "shuffle_train_dataset": False,
    "shuffle_buffer_size": 2,
    "optimizer": "lion",
    "learning_rate": 1e-3,
    "weight_decay": 0.5,
    "clip_grad": 1e-3,
    "adam_beta1": 0.5,
    "adam_beta2": 0.5,
    "adam_epsilon": 0.1,
    "mu_dtype": "bfloat16",
    "nu_dtype": "bfloat16",
    "scheduler": "linear",
    "lr_scheduler_type": "cosine",
    "lr_scheduler_kwargs": {"num_cycles": 2},
    "learning_rate_end": 1e-3,
    "warmup_steps": 1,
    "warmup_ratio": 0.5,
    "param_dtype": "bfloat16",
    "frozen_parameters": "embed",
    "disable_dropout": False,
    "lora_rank": 2,
    "lora_alpha": 3.0,
    "lora_dropout": 0.5,
    "lora_target_modules": ["q_proj"],
    "use_dora": True,
    "use_rslora": True,
    "merge_lora_before_save": True,
    "evaluation_steps": 1,
    "evaluate_before_training": False,
    "max_evaluation_steps": 1,
    "best_metric": "eval_loss",
    "best_metric_greater": True,
    "load_best_at_end": True,
    "early_stopping_patience": 1,
    "early_stopping_threshold": 0.1,
    "generation_prompts": 2,
    "generation_interval": 1,
    "generation_max_new_tokens": 8,
}
# The options that are to change neither numbers nor files of a run, with the test that shows what they do.
ELSEWHERE = {
    "save_directory": "where all of it is; every run of these tests sets it",
    "resume": "trainers/test_resume.py: nothing to continue is there yet",
    "max_skipped_steps": "trainers/test_skipped_steps.py: no step is skipped here",
    "stop_on": "trainers/test_run_watch.py: these runs show no sign",
    "save_total_limit": "trainers/record/test_checkpoint.py: a run that nothing interrupts saves at its end alone",
    "save_interval_minutes": "trainers/test_loop.py: these runs take seconds",
    "progress_bar_type": "display/: what the terminal shows",
    "check_memory": "trainers/test_memory_estimate.py: there is enough here",
    "gradient_accumulation_steps": "test_invariance.py: the same result in less memory",
    "precompute_ref_log_probs": "trainers/test_reference_precompute.py: the same numbers",
    "on_bad_row": "data/test_bad_rows.py: all rows can be read here",
    "dataset_num_proc": "data/test_tokenize.py: the same rows, sooner",
    "cache_directory": "data/test_cache.py: what the next run need not do",
}
# What an option chooses between: these rows are short, and all of them is kept.
COMPANY = {"truncation_mode": {"max_length": 9}}


def outcome(**options: Any) -> dict[str, Any]:
    """Returns what two steps of a tiny model with dropout, on rows of text, leave besides settings and times."""
    name = "question" if "columns" in options else "prompt"
    rows = [
        {name: "say " + "ab" * (n % 3), "chosen": "good" * (1 + n % 3), "rejected": "bad bad" * (1 + n % 2)}
        for n in range(8)
    ]
    with TemporaryDirectory() as folder:
        arguments = ed.DPOConfig(**{**BASE, "save_directory": folder, "cache_directory": None, **options})
        ed.DPOTrainer(arguments, MODEL, processing_class=tiny_tokenizer(), train_dataset=rows).train()
        run = Path(folder) / arguments.model_name
        return {
            "metrics": without_clock(run),
            "rows": json.loads((run / "data.json").read_text()),
            "model": {file.name: digest(file) for file in (run / "model").glob("*.safetensors")},
            "names": sorted(str(path.relative_to(folder)) for path in [*run.glob("*"), *run.glob("*/*")]),
            "samples": (run / "samples.jsonl").read_bytes() if (run / "samples.jsonl").exists() else b"",
        }


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


usual = cache(outcome)


def test_two_runs_of_the_same_settings_leave_the_same():
    assert outcome() == usual()


def test_every_option_is_tried():
    assert {field.name for field in dataclasses.fields(ed.DPOConfig)} == OTHERS.keys() | ELSEWHERE.keys()


def reply(name: str) -> str:
    """Returns with what a run is refused, or warned of, where the option leaves what is left without it."""
    company = COMPANY.get(name, {})
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            found = outcome(**company, **{name: OTHERS[name]})
        except ConfigError as error:
            return str(error)
    if name in COMPANY:
        assert found != outcome(**company)
    return name if found != usual() else " ".join(str(each.message) for each in warned)


@pytest.mark.parametrize("name", OTHERS)
def test_an_option_alone_has_an_effect_or_is_named_as_one_without(name):
    assert name in reply(name)
