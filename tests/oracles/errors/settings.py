"""Errors in settings: options of DPOConfig, flags, files of options."""

from typing import Any

from easydel.data.batch_layout import BatchLayout
from easydel.data.loader import Position, make_loader
from easydel.display.display import make_display
from easydel.scripts.finetune import dpo
from easydel.trainers.chat_template_date import with_chat_template_date
from easydel.trainers.config import DPOConfig
from easydel.trainers.intervals import resolve_intervals
from easydel.trainers.objective import make_objective
from oracles.errors import Case, Cases, Place
from oracles.tiny import tiny_pairs
from oracles.tokenizers import tiny_tokenizer


def config(**values: Any) -> Case:
    return lambda place: DPOConfig(**values)


def flags(words: str) -> Case:
    return lambda place: dpo.parse(words.split())


def file(text: str) -> Case:
    def read(place: Place) -> object:
        return dpo.parse(["--config", str(place.file("run.yaml", text))])

    return read


def yaml(text: str) -> Case:
    return lambda place: DPOConfig.from_yaml(place.file("settings.yaml", text))


def objective(loss: Any, **values: Any) -> Case:
    return lambda place: make_objective(DPOConfig(loss_type=loss, **values))


def pace(steps: int, per_epoch: int | None, **values: Any) -> Case:
    return lambda place: resolve_intervals(DPOConfig(**values), steps, per_epoch)


def sums(policy: Any, reference: Any, lengths: Any) -> Any:
    return (policy - reference).sum()


def plain(policy: Any, reference: Any, lengths: Any) -> Any:
    return (policy - reference)[:, 0]


def sharp(policy: Any, reference: Any, lengths: Any, *, sharpness: float) -> Any:
    return sharpness * (policy - reference)[:, 0]


CASES: Cases = {
    "An unknown option": [
        config(bta=0.1),
        flags("--max_lenght 5"),
        config(max_grad_norm=1.0),
        config(gradient_checkpointing="nothing_saveable"),
        config(padding_free=True),
        file("pref_beta: 0.1"),
        file("evals_per_epoch: 4"),
        config(zzzz=1),
        file("beeta: 0.1"),
        file("output_dir: runs\nrl: dpo\nstage: dpo\nref_model: null"),
        config(output_dir="runs", bta=0.1),
        flags("--model_name_or_path a --output_dir b"),
        file("report_steps: 5"),
        flags("--per_device_train_batch_size 4"),
        flags("--zzzz"),
        flags("quick"),
        flags("--beta"),
    ],
    "An invalid value": [
        config(beta="big"),
        config(beta=None),
        config(loss_type=[]),
        config(loss_type="sigmiod"),
        config(beta=0),
        config(test_split_size=2.5),
        config(loss_type="my.losses:wpo"),
        lambda place: make_display("bar"),
        flags("--print_completion nushell"),
        flags("--help lorra"),
        flags("--sharding_axis 1,2"),
        flags("--dataset_name --repo_id x"),
        config(optimizer="paged_adamw_8bit"),
        config(frozen_parameters="("),
        config(model_name="../mine"),
        config(chat_template_date="28 November"),
        config(save_steps="often"),
        config(warmup_steps=1.5),
        config(scheduler="reduce_lr_on_plateau"),
        config(scheduler="wsd"),
        config(loss_type="dpo"),
        config(scheduler="polynomial", lr_scheduler_kwargs="power=high"),
        config(scheduler="polynomial", lr_scheduler_kwargs="{power: 2}"),
        config(scheduler="warmup_stable_decay", lr_scheduler_kwargs={"num_decay_steps": 5, "decay_type": "sqrt"}),
        lambda place: with_chat_template_date(DPOConfig(chat_template_date="2026-11-28"), tiny_tokenizer()),
    ],
    "An empty value": [
        lambda place: dpo.parse(["--repo_id", "", "--dataset_name", "x"]),
        flags("--repo_id m --dataset_name a,,b"),
    ],
    "A file of settings": [
        lambda place: dpo.parse(["--config", "nowhere.yaml"]),
        file("beta: ["),
        file("- beta"),
        yaml("beta: 0"),
    ],
    "Settings that contradict each other": [
        config(sync_ref_model=True, reference_free=True),
        config(reference_free=True, loss_type="simpo"),
        config(sync_ref_model=True, loss_type="simpo"),
        config(precompute_ref_log_probs=True, sync_ref_model=True),
        config(precompute_ref_log_probs=True, reference_free=True),
        config(precompute_ref_log_probs=True, loss_type="orpo"),
        config(max_length=64, max_prompt_length=64),
        config(warmup_steps=10, warmup_ratio=0.1),
        config(scheduler="linear", lr_scheduler_type="cosine"),
        config(scheduler="cosine_with_min_lr"),
        config(scheduler="cosine_with_min_lr", lr_scheduler_kwargs={"min_lr": 1e-8, "min_lr_rate": 0.1}),
        config(scheduler="polynomial", learning_rate_end=0.0, lr_scheduler_kwargs={"lr_end": 1e-8}),
        config(scheduler="polynomial", learning_rate=1e-7),
        config(scheduler="warmup_stable_decay"),
        pace(10, None, save_steps="epoch"),
        pace(10, 5, scheduler="warmup_stable_decay", lr_scheduler_kwargs={"num_decay_steps": 11}),
        config(total_batch_size=16, gradient_accumulation_steps=3),
        config(loss_weights=[1.0, 2.0]),
        config(loss_type=["sigmoid", "sft"], loss_weights=[0.0, 0.0]),
        config(loss_type="exo_pair"),
        config(loss_type=["sigmoid", "bco_pair"], f_divergence_type="forward_kl"),
        flags("--loss_type simpo --repo_id m --dataset_name d --reference_model_repo_id r"),
        flags("--repo_id m --dataset_name d --streaming"),
        flags("--repo_id m"),
        flags("--repo_id m --dataset_name d --eval_dataset_name a.jsonl b.jsonl"),
        flags("--repo_id m --dataset_name a b --dataset_weights 1 2 3"),
        flags("--repo_id m --dataset_name a b c --dataset_config en de"),
        flags("--repo_id m --dataset_name a --test_split_size 0.1 --eval_dataset_split test"),
        flags("--repo_id m --dataset_name a --evaluation_steps 0.1"),
        flags("--repo_id m --dataset_name a --test_split_size 0.1 --streaming --max_training_steps 9"),
    ],
    "A setting without effect": [
        config(precompute_ref_batch_size=8),
        config(optimizer="lion", adam_epsilon=1e-6),
        config(learning_rate_end=1e-7),
        config(scheduler="constant", warmup_ratio=0.1),
        config(scheduler="linear", lr_scheduler_kwargs={"num_cycles": 2}),
        config(scheduler="cosine_warmup_with_min_lr", lr_scheduler_kwargs={"min_lr": 0, "warmup_lr_rate": 0.1}),
        config(
            scheduler="warmup_stable_decay",
            lr_scheduler_kwargs={"num_decay_steps": 5, "decay_type": "linear", "num_cycles": 2},
        ),
        config(wandb_name="mine"),
        config(load_best_at_end=True),
        config(loss_type="hinge", label_smoothing=0.1),
        config(loss_type="bco_pair", f_divergence_type="forward_kl"),
        config(f_alpha_divergence_coef=0.3),
        objective(plain, label_smoothing=0.1),
        objective("sigmoid", router_aux_loss_coef=0.1),
        flags("--repo_id m --dataset_name d --dataset_weights 1"),
        flags("--repo_id m --dataset_name a b --dataset_stop all_exhausted"),
        flags("--repo_id m --dataset_name a --eval_dataset_config en"),
    ],
    "A loss of your own": [
        objective(lambda policy, reference: policy),
        objective(sharp),
        objective(sums),
    ],
    "Batches": [
        lambda place: BatchLayout(0),
        lambda place: BatchLayout(5, 2),
        lambda place: make_loader([], BatchLayout(4), seed=-1),
        lambda place: make_loader([], BatchLayout(4)),
        lambda place: next(make_loader(tiny_pairs(4), BatchLayout(4)).batches(Position(0, 9), epochs=1)),
    ],
}
