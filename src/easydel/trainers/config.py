"""`DPOConfig`: every setting of a run. No jax here, so that `--help` answers at once."""

import dataclasses
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, Self

from easydel.data.clock import read_day
from easydel.data.column_names import read_columns
from easydel.display.display import KINDS
from easydel.errors import ConfigError
from easydel.trainers.fields import check_fields, option, read_yaml, reject_unknown
from easydel.trainers.loss_settings import (
    DIVERGENCE_TYPES,
    LOSS_TYPES,
    OTHER_NAMES,
    WITH_MARGIN,
    WITHOUT_REFERENCE,
    Loss,
    check_losses,
    weighted_losses,
)
from easydel.trainers.optimizer_names import REFUSED as NOT_OURS
from easydel.trainers.optimizer_names import SAME
from easydel.trainers.schedule_settings import REFUSED, SCHEDULES, check_schedule, read_kwargs

Interval = int | float | Literal["epoch"]
"""How often something is done: every so many steps, every share of the run, or after each epoch."""

TRACKERS = ("wandb", "trackio", "tensorboard")

# What an optimizer does not have in its definition.
UNUSED_BY_OPTIMIZER = {
    "adafactor": ("adam_beta1", "adam_beta2", "adam_epsilon", "mu_dtype", "nu_dtype"),
    "lion": ("adam_epsilon", "nu_dtype"),
    "rmsprop": ("adam_beta1", "mu_dtype"),
}

# Settings of adapters that are made for the run.
OF_NEW_ADAPTERS = ("lora_alpha", "lora_dropout", "lora_target_modules", "use_dora", "use_rslora")


@dataclasses.dataclass(frozen=True, kw_only=True)
class DPOConfig:
    """Every setting of a DPO run, checked when it is made. Text may spell a number, a truth value or `none`.

    Raises:
        ConfigError: an unknown name, a value out of range, or two settings that cannot work together.
    """

    # Run
    model_name: str = option("dpo", "name of the run: the folder under save_directory", group="run")
    save_directory: str = option("dpo_runs", "folder that holds the folders of all runs")
    seed: int = option(0, "seed of the order of the data, of dropout and of new weights", at_least=0)
    resume: Literal["never", "auto"] = option(
        "never", "auto continues the newest complete checkpoint of the same configuration and data"
    )
    save_steps: Interval | None = option(
        None,
        "save a checkpoint every so many steps, below 1 a share of the run, or after each epoch; none saves none on "
        "the way",
        share=True,
        above=0,
    )
    save_interval_minutes: float | None = option(
        None, "also save a checkpoint when the last one is so many minutes old; none never does", above=0
    )
    save_total_limit: int | None = option(
        None, "keep the newest so many checkpoints, and the best one besides; none keeps all", at_least=1
    )
    max_skipped_steps: int | None = option(
        10,
        "end the run when so many steps in a row were skipped because loss or gradient was not finite; none never does",
        at_least=1,
    )
    do_last_save: bool = option(True, "write the trained model, a Hugging Face folder, at the end")
    save_dtype: Literal["float32", "bfloat16", "float16"] | None = option(
        None,
        "dtype of the weights of the saved model; none is that of the base as it came, adapters as they are trained",
    )
    log_steps: Interval = option(
        10, "log metrics every so many steps, below 1 a share of the run, or after each epoch", share=True, above=0
    )
    log_logit_metrics: bool = option(True, "also log entropy, logits/chosen, logits/rejected and token accuracy")
    progress_bar_type: str = option(
        "tqdm",
        "what the terminal shows: bars of tqdm or rich, one JSON object a line for a program, or nothing; in a pipe or "
        "file, lines take the place of bars",
        choices=KINDS,
    )
    report_to: list[str] | None = option(
        None, "trackers to log to besides the run folder; none is none of them", choices=TRACKERS
    )
    use_wandb: bool = option(False, "the same as report_to wandb: log to Weights & Biases, when it is installed")
    wandb_entity: str | None = option(None, "user or team whose project the run goes to; none is wandb's own default")
    wandb_name: str | None = option(None, "name of the run at wandb; none is model_name")
    profile_steps: int | None = option(
        None,
        "trace so many steps with jax.profiler, from the third on, into profile/ of the run folder; none traces none",
        at_least=1,
    )
    push_to_hub: bool = option(
        False, "upload the trained model and its card to the Hugging Face Hub at the end, by the token of hf auth login"
    )
    hub_model_id: str | None = option(
        None, "where to on the hub, such as me/tuned; none is model_name, under your own account"
    )
    hub_private_repo: bool = option(False, "make a new repository on the hub private")

    # Loss
    loss_type: str | list[str] | Callable[..., Any] = option(
        "sigmoid",
        "preference loss, or several to add up; in Python also a function of your own",
        group="loss",
        choices=LOSS_TYPES,
        refused=OTHER_NAMES,
    )
    loss_weights: list[float] | None = option(None, "weight of each loss; none is 1 for each", at_least=0)
    beta: float = option(0.1, "how strongly the policy is held to the reference", above=0)
    label_smoothing: float = option(
        0.0, "share of preference labels taken to be wrong; exo_pair needs more than 0", at_least=0, below=0.5
    )
    rpo_alpha: float | None = option(
        None, "weight of the likelihood of the chosen answers (sft) beside the loss; none leaves it out", at_least=0
    )
    use_weighting: bool = option(False, "weigh each pair by how likely the policy itself would write it (WPO)")
    ld_alpha: float | None = option(
        None,
        "weight of the tokens of an answer beyond the length of the shorter one (LD-DPO); none is 1",
        at_least=0,
        at_most=1,
    )
    f_divergence_type: str = option(
        "reverse_kl", "divergence from the reference that is penalised (f-DPO)", choices=DIVERGENCE_TYPES
    )
    f_alpha_divergence_coef: float = option(0.5, "alpha of alpha_divergence")
    discopop_tau: float = option(0.05, "temperature at which discopop blends its two losses", above=0)
    bco_running_mean: bool = option(False, "bco_pair shifts rewards by the mean reward so far; else by 0")
    simpo_gamma: float = option(0.5, "margin between the rewards of simpo and alphapo")
    alphapo_alpha: float = option(0.25, "shape of the reward of alphapo; 0 is simpo")
    cpo_alpha: float = option(1.0, "weight of the likelihood of the chosen answers in cpo", at_least=0)
    router_aux_loss_coef: float | None = option(
        None, "weight of the loss that keeps experts equally used; none is that of the model", at_least=0
    )

    # Reference
    reference_free: bool = option(False, "train without a reference: its log-probabilities are 0", group="reference")
    sync_ref_model: bool = option(False, "move the reference towards the policy as training goes (TR-DPO)")
    ref_model_sync_steps: int = option(64, "steps between two moves of the reference", at_least=1)
    ref_model_mixup_alpha: float = option(
        0.9,
        "weight of the policy in reference <- alpha policy + (1 - alpha) reference",
        at_least=0,
        at_most=1,
    )
    precompute_ref_log_probs: bool = option(
        False, "compute the reference's log-probabilities once, before training, and free its weights"
    )
    precompute_ref_batch_size: int | None = option(
        None, "pairs at a time when they are computed; none takes the batches of training", at_least=1
    )

    # Lengths, in tokens
    max_length: int | None = option(
        1024, "most tokens of prompt and completion together; none is no limit", group="lengths", at_least=2
    )
    max_prompt_length: int | None = option(
        None, "most tokens of a prompt, of which the end is kept; none is no limit", at_least=1
    )
    max_completion_length: int | None = option(
        None, "most tokens of a completion, of which the start is kept; none is no limit", at_least=1
    )
    truncation_mode: Literal["keep_start", "keep_end"] = option(
        "keep_start", "which end of prompt and completion together survives max_length"
    )

    # Batch
    total_batch_size: int = option(16, "pairs per optimizer update", group="batch", at_least=1)
    gradient_accumulation_steps: int = option(
        1, "parts a batch is computed in: less memory, the same result", at_least=1
    )
    eval_batch_size: int | None = option(
        None, "pairs per evaluation batch; none is total_batch_size / gradient_accumulation_steps", at_least=1
    )
    num_train_epochs: int | float = option(
        1, "passes over the training data, of which the last may be a part, as in 0.5", above=0
    )
    max_training_steps: int | None = option(None, "stop after so many steps; none is no limit", at_least=1)
    shuffle_train_dataset: bool = option(True, "shuffle each epoch; false keeps the order of the data")
    shuffle_buffer_size: int | None = option(
        None, "pairs of a stream that are shuffled together; none is 1024", at_least=1
    )

    # Data
    columns: dict[str, Any] | None = option(
        None,
        "columns of the rows that stand for those that are read, such as prompt=question chosen=best; ignore=notes "
        "leaves one out; none reads the columns as they are called",
        group="data",
        example="prompt=question",
    )
    max_samples: int | None = option(
        None,
        "take the first so many rows of each dataset, before several are mixed, and of each evaluation set; none takes "
        "all",
        at_least=1,
    )
    test_split_size: float | None = option(
        None,
        "hold so many of the training rows out, by seed, and evaluate on them: a share below 1, or a number of rows; "
        "none holds none out",
        above=0,
    )
    dataset_num_proc: int | None = option(
        None, "processes that tokenise, for slow tokenizers; none is this process", at_least=1
    )
    cache_directory: str | None = option(
        "auto",
        "folder that keeps token ids and reference log-probabilities for the next run; auto is ~/.cache/easydel (or in "
        "XDG_CACHE_HOME), none keeps nothing",
    )

    chat_template_date: str | None = option(
        None,
        "day, such as 2026-11-28, that a chat template which asks for today's date gets; none is the day on which the "
        "run begins, also when it is continued",
    )

    # Optimizer and schedule
    optimizer: str = option(
        "adamw",
        "optimizer; names of transformers for one of these, such as adamw_torch_fused, are read as it",
        group="optimizer",
        choices=("adamw", "adafactor", "lion", "rmsprop", "muon"),
        same=SAME,
        refused=NOT_OURS,
    )
    learning_rate: float = option(1e-6, "highest learning rate", above=0)
    learning_rate_end: float | None = option(
        None,
        "learning rate towards which linear, cosine, cosine_with_min_lr, cosine_warmup_with_min_lr and polynomial "
        "fall; none is 0, of polynomial 1e-7, and the others of these need it",
        at_least=0,
    )
    scheduler: str = option(
        "none",
        "learning rate after the warm-up, by the names of transformers; none keeps it, and so do constant, which has "
        "no warm-up, and constant_with_warmup",
        choices=tuple(SCHEDULES),
        refused=REFUSED,
    )
    lr_scheduler_type: str | None = option(
        None,
        "another name of scheduler, that of transformers; none leaves it to scheduler",
        choices=tuple(SCHEDULES),
        refused=REFUSED,
    )
    lr_scheduler_kwargs: dict[str, Any] | None = option(
        None,
        "what else a schedule is told, by the names of transformers, such as num_cycles=3 for cosine_with_restarts, "
        "power=2 for polynomial or num_decay_steps=0.1, a share of the run, for warmup_stable_decay; none is what they "
        "take",
        example="num_cycles=3",
    )
    warmup_steps: int | float = option(
        0,
        "steps over which the learning rate rises, from 0 in the first step; below 1 a share of the run",
        share=True,
        at_least=0,
    )
    warmup_ratio: float | None = option(
        None,
        "share of the run over which the learning rate rises; none leaves it to warmup_steps",
        at_least=0,
        at_most=1,
    )
    weight_decay: float = option(
        0.0, "decoupled weight decay, times the learning rate; norms and biases have none", at_least=0
    )
    clip_grad: float | None = option(None, "largest global norm of the gradient; none does not clip", above=0)
    adam_beta1: float | None = option(
        None,
        "decay of the first moment; none is the optimizer's own, 0.9 of each that has one",
        at_least=0,
        below=1,
    )
    adam_beta2: float | None = option(
        None,
        "decay of the second moment, of lion of what it keeps of the first; none is the optimizer's own: 0.999 of "
        "adamw and muon, 0.99 of lion and rmsprop",
        at_least=0,
        below=1,
    )
    adam_epsilon: float | None = option(
        None, "added to the root in the denominator of the update; none is 1e-8", above=0
    )
    mu_dtype: Literal["float32", "bfloat16"] = option(
        "float32", "dtype that the first moment of each weight is kept in; bfloat16 saves 2 bytes a weight"
    )
    nu_dtype: Literal["float32", "bfloat16"] = option(
        "float32", "dtype that the second moment is kept in; bfloat16 is rounded at random, right on average"
    )
    param_dtype: Literal["float32", "bfloat16", "float16"] | None = option(
        None, "dtype of the trained weights; none keeps the model's"
    )

    frozen_parameters: str | None = option(
        None,
        "regular expression searched for in the names of weights, as in the checkpoint or ours, that are not trained: "
        "they keep their bits and have no optimizer state; none trains all",
    )

    # Adapters
    lora_rank: int | None = option(
        None,
        "train adapters of this rank beside the weights, which stay as they are (LoRA); none trains the weights",
        group="adapters",
        at_least=1,
    )
    lora_alpha: float | None = option(
        None, "what adapters add is multiplied by lora_alpha / lora_rank; none is twice the rank", above=0
    )
    lora_dropout: float = option(0.0, "share of the inputs of adapters dropped in training", at_least=0, below=1)
    lora_target_modules: str | list[str] | None = option(
        None,
        "modules with adapters, by the ends of their names, such as q_proj,v_proj, or one regular expression for whole "
        "names; none is all-linear, every matrix of the layers",
    )
    use_dora: bool = option(False, "adapters also learn the length of each output's weight vector (DoRA)")
    use_rslora: bool = option(False, "multiply by lora_alpha / sqrt(lora_rank) instead (rsLoRA)")
    merge_lora_before_save: bool = option(
        False, "save the whole model with its adapters added to the weights; else the adapters alone"
    )

    # Model behaviour
    disable_dropout: bool = option(True, "train without the model's own dropout", group="model")

    # Evaluation
    evaluation_steps: Interval | None = option(
        None,
        "evaluate every so many steps, below 1 a share of the run, or after each epoch, and before the first and after "
        "the last; none is these two only",
        group="evaluation",
        share=True,
        above=0,
    )
    evaluate_before_training: bool = option(True, "evaluate before the first step too")
    max_evaluation_steps: int | None = option(None, "batches per evaluation set; none is the whole set", at_least=1)
    best_metric: str | None = option(
        None, "keep the checkpoint of the evaluation at which this is best, such as eval_loss; none keeps none"
    )
    best_metric_greater: bool | None = option(
        None, "a greater best_metric is better; none is false for a loss or entropy and true for the rest"
    )
    load_best_at_end: bool = option(False, "the trained model is that of the best checkpoint, not of the last step")
    early_stopping_patience: int | None = option(
        None, "stop after so many evaluations without a better best_metric; none never does", at_least=1
    )
    early_stopping_threshold: float = option(
        0.0, "what best_metric must improve by for early_stopping_patience to start anew", at_least=0
    )
    generation_prompts: int = option(
        0,
        "prompts of the evaluation data, or of the training data without any, to answer before and after training",
        at_least=0,
    )
    generation_interval: Interval | None = option(
        None,
        "also answer generation_prompts every so many steps, below 1 a share of the run, or after each epoch; none "
        "does not",
        share=True,
        above=0,
    )
    generation_max_new_tokens: int = option(64, "tokens per answer", at_least=1)

    def __new__(cls, **values: object) -> Self:
        # The constructor that dataclass writes would raise a TypeError that names no neighbour.
        reject_unknown(values, cls)
        return super().__new__(cls)

    def __post_init__(self) -> None:
        check_fields(self)
        self._take_names_of_transformers()
        read_columns(self.columns)
        _check_name(self.model_name)
        check_losses(self)
        _check_reference(self)
        _check_sizes(self)
        _check_optimizer(self)
        check_schedule(self)
        _check_frozen(self)
        _check_needed(self)
        _check_held_out(self)
        if self.chat_template_date is not None:
            read_day(self.chat_template_date)

    def _take_names_of_transformers(self) -> None:
        """Writes what was said by another name where it is looked for: one run has one form."""
        named = self.lr_scheduler_type
        if named is not None:
            if self.scheduler not in (DPOConfig.scheduler, named):
                raise ConfigError(
                    f"scheduler = {self.scheduler!r} and lr_scheduler_type = {named!r} are two names of one setting: "
                    "drop one."
                )
            object.__setattr__(self, "scheduler", named)
            object.__setattr__(self, "lr_scheduler_type", None)
        object.__setattr__(self, "lr_scheduler_kwargs", read_kwargs(self.scheduler, self.lr_scheduler_kwargs))

    @property
    def run_folder(self) -> Path:
        """The folder everything of this run is written to."""
        return Path(self.save_directory) / self.model_name

    @property
    def trackers(self) -> tuple[str, ...]:
        """The trackers of the run, each once."""
        asked = [*(self.report_to or []), *(["wandb"] if self.use_wandb else [])]
        return tuple(name for name in TRACKERS if name in asked)

    @property
    def losses(self) -> list[tuple[Loss, float]]:
        """Each loss of the run with its weight."""
        return weighted_losses(self)

    @property
    def needs_reference(self) -> bool:
        """Whether any loss looks at the reference; of a function of one's own it is taken that it does."""
        return not self.reference_free and any(loss not in WITHOUT_REFERENCE for loss, _ in self.losses)

    @property
    def uses_margin(self) -> bool:
        """Whether any loss may look at the margins of the pairs."""
        return any(loss in WITH_MARGIN or callable(loss) for loss, _ in self.losses)

    def to_dict(self) -> dict[str, Any]:
        """Returns the settings as plain values; a loss function of one's own is given as `module:name`."""
        values = dataclasses.asdict(self)
        loss = self.loss_type
        values["loss_type"] = [_plain_name(each) for each in loss] if isinstance(loss, list) else _plain_name(loss)
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Returns the configuration with these settings; it undoes `to_dict`."""
        return cls(**values)

    def to_yaml(self, path: str | Path) -> None:
        """Writes the settings to a YAML file, one `name: value` line each."""
        import yaml

        Path(path).write_text(yaml.safe_dump(self.to_dict(), sort_keys=False), encoding="utf-8")

    @classmethod
    def from_yaml(cls, path: str | Path) -> Self:
        """Returns the configuration in a YAML file; what it does not name keeps its default.

        Raises:
            ConfigError: as the constructor, with the name of the file.
        """
        values = read_yaml(path)
        try:
            return cls.from_dict(values)
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from error


def _plain_name(loss: Loss) -> str:
    if isinstance(loss, str):
        return loss
    # A `functools.partial`, or an instance that can be called, has no name of its own.
    return f"{loss.__module__}:{getattr(loss, '__qualname__', type(loss).__qualname__)}"


def _check_name(name: str) -> None:
    """Refuses a run name that is not one folder: `../x` would write outside save_directory."""
    if name in ("", ".", "..") or any(mark in name for mark in "/\\\0"):
        plain = "-".join(part for part in name.replace("\\", "/").split("/") if part.strip(".")) or "dpo"
        raise ConfigError(
            f"model_name = {name!r} must be one plain folder name: write {plain!r}, and put folders in save_directory."
        )


def _check_reference(config: DPOConfig) -> None:
    if config.reference_free and config.sync_ref_model:
        raise ConfigError(
            "sync_ref_model = True needs a reference, but reference_free = True trains without one: "
            "drop one of the two."
        )
    if config.reference_free and all(loss in WITHOUT_REFERENCE for loss, _ in config.losses):
        raise ConfigError(
            f"reference_free = True has no meaning for loss_type {config.loss_type!r}, which looks at no reference: "
            "leave it out."
        )
    if config.sync_ref_model and not config.needs_reference:
        raise ConfigError(
            f"sync_ref_model = True needs a reference, and loss_type {config.loss_type!r} looks at none: leave it off."
        )
    _check_precompute(config)


def _check_precompute(config: DPOConfig) -> None:
    if not config.precompute_ref_log_probs:
        if config.precompute_ref_batch_size is not None:
            raise ConfigError(
                f"precompute_ref_batch_size = {config.precompute_ref_batch_size} has no meaning without "
                "precompute_ref_log_probs = True: set that, or leave it out."
            )
        return
    way_out = "Leave precompute_ref_log_probs off"
    if config.sync_ref_model:
        raise ConfigError(
            "precompute_ref_log_probs = True needs a reference that stays, but sync_ref_model = True moves it. "
            f"{way_out}, or sync_ref_model."
        )
    if config.reference_free:
        raise ConfigError(
            "precompute_ref_log_probs = True has nothing to compute: reference_free = True trains without a reference. "
            f"{way_out}, or reference_free."
        )
    if not config.needs_reference:
        raise ConfigError(
            f"precompute_ref_log_probs = True has nothing to compute: loss_type {config.loss_type!r} looks at no "
            f"reference. {way_out}."
        )


def _check_sizes(config: DPOConfig) -> None:
    longest, prompt = config.max_length, config.max_prompt_length
    if longest is not None and prompt is not None and prompt >= longest:
        raise ConfigError(
            f"max_prompt_length = {prompt} must be below max_length = {longest}, "
            "so that a completion fits: lower it, or raise max_length."
        )
    if config.total_batch_size % config.gradient_accumulation_steps:
        raise ConfigError(
            f"total_batch_size = {config.total_batch_size} must be divisible by "
            f"gradient_accumulation_steps = {config.gradient_accumulation_steps}."
        )


def _check_held_out(config: DPOConfig) -> None:
    size = config.test_split_size
    if size is not None and size > 1 and not size.is_integer():
        raise ConfigError(
            f"test_split_size = {size} is neither a share of the rows, below 1, nor a whole number of them: write "
            f"{int(size)}."
        )


def _check_optimizer(config: DPOConfig) -> None:
    for name in UNUSED_BY_OPTIMIZER.get(config.optimizer, ()):
        if getattr(config, name) != getattr(DPOConfig, name):
            raise ConfigError(
                f"{name} = {getattr(config, name)} has no meaning for optimizer {config.optimizer!r}: "
                "drop it, or take 'adamw'."
            )


def _check_frozen(config: DPOConfig) -> None:
    try:
        re.compile(config.frozen_parameters or "")
    except re.error as error:
        raise ConfigError(
            f"frozen_parameters = {config.frozen_parameters!r} is no regular expression: {error}."
        ) from None


def _check_needed(config: DPOConfig) -> None:
    """Refuses what would be ignored for want of another setting."""
    for name in ("wandb_entity", "wandb_name"):
        if getattr(config, name) is not None and "wandb" not in config.trackers:
            raise ConfigError(
                f"{name} = {getattr(config, name)!r} has no meaning without wandb: set report_to = 'wandb', or leave "
                f"{name} out."
            )
    for name, needed, example in (
        ("best_metric_greater", "best_metric", "such as 'eval_loss'"),
        ("load_best_at_end", "best_metric", "such as 'eval_loss'"),
        ("early_stopping_patience", "best_metric", "such as 'eval_loss'"),
        ("early_stopping_patience", "evaluation_steps", "the steps between two evaluations"),
        ("early_stopping_threshold", "early_stopping_patience", "the evaluations to wait"),
        ("push_to_hub", "do_last_save", "which writes what is uploaded"),
        ("hub_model_id", "push_to_hub", "True"),
        ("hub_private_repo", "push_to_hub", "True"),
        ("generation_interval", "generation_prompts", "how many prompts to answer"),
        ("generation_max_new_tokens", "generation_prompts", "how many prompts to answer"),
        ("ref_model_sync_steps", "sync_ref_model", "True"),
        ("ref_model_mixup_alpha", "sync_ref_model", "True"),
        *((name, "lora_rank", "the rank of new adapters") for name in OF_NEW_ADAPTERS),
    ):
        value = getattr(config, name)
        if value != getattr(DPOConfig, name) and not getattr(config, needed):
            raise ConfigError(f"{name} = {value} needs {needed}, {example}: set it, or leave {name} out.")
