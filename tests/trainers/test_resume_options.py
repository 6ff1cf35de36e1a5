"""Every option alone: a run that is continued with another value is refused by name, or computes the same bits."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import easydel as ed
from easydel.trainers.config import MAY_CHANGE_ON_RESUME
from easydel.trainers.record.files import read_metrics
from easydel.trainers.record.same_settings import require_same_settings
from oracles.runs import config, same_bits, tiny_model
from oracles.tokenizers import EOS, tiny_tokenizer

ROWS = [{"prompt": f"say {a}{b}:", "chosen": f"{a} {b}", "rejected": f"{b}"} for a in "cdef" for b in "ghij"]
BEST = {"best_metric": "eval_loss", "evaluation_steps": 1}
LORA = {"lora_rank": 2}
SYNCED = {"sync_ref_model": True}
# What an option needs to have an effect, and another value of it.
CHANGES: dict[str, tuple[dict[str, Any], Any]] = {
    "model_name": ({}, "other"),
    "save_directory": ({}, "elsewhere"),
    "seed": ({}, 1),
    "max_skipped_steps": ({}, 3),
    "stop_on": ({}, ["gradient_spike"]),
    "save_steps": ({}, 1),
    "save_interval_minutes": ({}, 60),
    "save_total_limit": ({}, 1),
    "do_last_save": ({}, True),
    "save_dtype": ({}, "bfloat16"),
    "log_steps": ({}, 3),
    "log_logit_metrics": ({}, False),
    "progress_bar_type": ({}, "json"),
    "profile_steps": ({}, 1),
    "loss_type": ({}, "hinge"),
    "loss_weights": ({}, [0.5]),
    "rpo_alpha": ({}, 0.5),
    "beta": ({}, 0.3),
    "label_smoothing": ({}, 0.1),
    "use_weighting": ({}, True),
    "ld_alpha": ({}, 0.5),
    "f_divergence_type": ({}, "forward_kl"),
    "f_alpha_divergence_coef": ({"f_divergence_type": "alpha_divergence"}, 0.4),
    "discopop_tau": ({"loss_type": "discopop"}, 0.1),
    "length_penalty": ({}, 0.1),
    "dpop_lambda": ({"loss_type": "dpop"}, 5.0),
    "score_scale": ({"loss_type": "rpo_sq"}, 0.5),
    "odpo_alpha": ({"loss_type": "odpo"}, 0.5),
    "bco_running_mean": ({"loss_type": "bco_pair"}, True),
    "simpo_gamma": ({"loss_type": "simpo"}, 0.7),
    "alphapo_alpha": ({"loss_type": "alphapo"}, 0.5),
    "cpo_alpha": ({"loss_type": "cpo"}, 0.5),
    "router_aux_loss_coef": ({}, 0.1),
    "reference_free": ({}, True),
    "sync_ref_model": ({}, True),
    "ref_model_sync_steps": (SYNCED, 2),
    "ref_model_mixup_alpha": (SYNCED, 0.5),
    "precompute_ref_log_probs": ({}, True),
    "precompute_ref_batch_size": ({"precompute_ref_log_probs": True}, 2),
    "max_length": ({}, 9),
    "max_prompt_length": ({}, 4),
    "max_completion_length": ({}, 2),
    "truncation_mode": ({"max_length": 9}, "keep_end"),
    "columns": ({}, {"ignore": "note"}),
    "max_samples": ({}, 8),
    "test_split_size": ({}, 2),
    "on_bad_row": ({}, "skip"),
    "dataset_num_proc": ({}, 1),
    "cache_directory": ({}, "cache"),
    "chat_template_date": ({}, "2026-11-28"),
    "total_batch_size": ({}, 8),
    "gradient_accumulation_steps": ({}, 2),
    "check_memory": ({}, False),
    "eval_batch_size": ({}, 1),
    "num_train_epochs": ({}, 2),
    "max_training_steps": ({}, 5),
    "shuffle_train_dataset": ({}, False),
    "shuffle_buffer_size": ({}, 8),
    "optimizer": ({}, "lion"),
    "learning_rate": ({}, 2e-2),
    "weight_decay": ({}, 0.1),
    "adam_beta1": ({}, 0.8),
    "adam_beta2": ({}, 0.9),
    "adam_epsilon": ({}, 1e-6),
    "mu_dtype": ({}, "bfloat16"),
    "nu_dtype": ({}, "bfloat16"),
    "clip_grad": ({}, 0.1),
    "scheduler": ({}, "linear"),
    "lr_scheduler_kwargs": ({"scheduler": "polynomial"}, {"power": 2}),
    "learning_rate_end": ({"scheduler": "linear"}, 1e-3),
    "warmup_steps": ({}, 2),
    "warmup_ratio": ({}, 0.5),
    "param_dtype": ({}, "bfloat16"),
    "frozen_parameters": ({}, "embed_tokens"),
    "disable_dropout": ({}, False),
    "lora_rank": ({}, 2),
    "lora_alpha": (LORA, 8),
    "lora_dropout": (LORA, 0.1),
    "lora_target_modules": (LORA, "q_proj"),
    "use_dora": (LORA, True),
    "use_rslora": (LORA, True),
    "merge_lora_before_save": (LORA, True),
    "evaluation_steps": ({}, 1),
    "evaluate_before_training": ({}, False),
    "max_evaluation_steps": ({}, 1),
    "best_metric": ({"evaluation_steps": 1}, "eval_loss"),
    "best_metric_greater": (BEST, True),
    "load_best_at_end": (BEST, True),
    "early_stopping_patience": (BEST, 5),
    "early_stopping_threshold": ({**BEST, "early_stopping_patience": 5}, 0.1),
    "generation_prompts": ({}, 1),
    "generation_interval": ({"generation_prompts": 1}, 1),
    "generation_max_new_tokens": ({"generation_prompts": 1}, 3),
}
# What cannot be tried here, with the reason.
LEFT_OUT = {
    "resume": "it is what continues a run",
    "lr_scheduler_type": "another name of scheduler",
    "report_to": "needs a tracker",
    "use_wandb": "as report_to",
    "wandb_entity": "as report_to",
    "wandb_name": "as report_to",
    "push_to_hub": "needs the hub",
    "hub_model_id": "as push_to_hub",
    "hub_private_repo": "as push_to_hub",
}
COMPARED = [name for name in CHANGES if name not in MAY_CHANGE_ON_RESUME]
FREE = [name for name in CHANGES if name in MAY_CHANGE_ON_RESUME]


def trainer(folder: Path, **options: Any) -> ed.DPOTrainer:
    defaults = {"do_last_save": False, "cache_directory": None, "save_steps": 2}
    return ed.DPOTrainer(
        arguments=config(folder, **{"max_length": None, **defaults, **options}),
        model=tiny_model(eos_token_id=EOS),
        processing_class=tiny_tokenizer(),
        train_dataset=ROWS,
        eval_dataset=ROWS[::5],
    )


def test_every_option_is_tried_or_there_is_a_reason_why_not():
    assert sorted([*CHANGES, *LEFT_OUT]) == sorted(field.name for field in dataclasses.fields(ed.DPOConfig))


@pytest.mark.parametrize("name", COMPARED)
def test_what_decides_the_numbers_is_refused_by_name(name: str, tmp_path: Path):
    needed, value = CHANGES[name]
    before = config(tmp_path, **needed)
    before.run_folder.mkdir()
    before.to_yaml(before.run_folder / "config.yaml")
    require_same_settings(config(tmp_path, **needed, resume="auto"), before.run_folder)
    now = config(tmp_path, **{**needed, name: value}, resume="auto")
    said = f"[ ;]{name} was .*, is .* now"
    with pytest.raises(ed.ConfigError, match=said):
        require_same_settings(now, before.run_folder)


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Callable[[dict[str, Any]], tuple[Path, Any]]:
    """Gives the folder and the weights of a run of four steps with these options, cut off after two or not."""
    known: dict[str, tuple[Path, Any]] = {}

    def run(options: dict[str, Any]) -> tuple[Path, Any]:
        if str(options) not in known:
            folder = tmp_path_factory.mktemp("straight")
            known[str(options)] = folder, trainer(folder, **options).train().model.params
        return known[str(options)]

    return run


@pytest.mark.slow
@pytest.mark.exact
@pytest.mark.parametrize("name", FREE)
def test_what_may_change_computes_the_same_bits(name: str, straight, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    needed, value = CHANGES[name]
    folder, weights = straight(needed)
    place = {"save_directory": str(tmp_path), "model_name": "dpo"} | (
        {name: value} if name in ("save_directory", "model_name") else {}
    )
    here = Path(place["save_directory"]) / place["model_name"]
    shutil.copytree(folder / "dpo", here)
    shutil.rmtree(here / "checkpoints" / "4")
    options = {**needed, name: value, **place, "resume": "auto"}
    directory = Path(options.pop("save_directory"))
    resumed = trainer(directory, **options).train()
    before, now = (
        {
            (entry["step"], key): entry[key]
            for entry in read_metrics(run)
            for key in ("loss", "grad_norm")
            if key in entry
        }
        for run in (folder / "dpo", here)
    )
    assert {at for at, _ in now} >= {1, 2}
    if name != "log_steps":  # which says over how many steps the mean is
        assert {at: now[at] for at in before} == before
    if resumed.steps == 4 and name != "load_best_at_end":
        assert same_bits(resumed.model.params, weights)
