"""`DPOConfig`: every setting of a run. No jax here, so that `--help` answers at once."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, Self

from easydel.errors import ConfigError
from easydel.trainers.fields import check_fields, option, read_yaml, reject_unknown

# The names of `easydel.losses.LOSSES`, which cannot be imported without jax; a test holds the two together.
LOSS_TYPES = (
    "sigmoid",
    "sigmoid_norm",
    "hinge",
    "ipo",
    "robust",
    "exo_pair",
    "nca_pair",
    "bco_pair",
    "sppo_hard",
    "apo_zero",
    "apo_down",
    "discopop",
    "aot",
    "aot_pair",
    "aot_unpaired",
)
# What an optimizer does not have in its definition.
UNUSED_BY_OPTIMIZER = {
    "adafactor": ("adam_beta1", "adam_beta2", "adam_epsilon"),
    "lion": ("adam_epsilon",),
    "muon": ("adam_epsilon",),
    "rmsprop": ("adam_beta1",),
}
# The losses that have label smoothing in their definition.
SMOOTHED_LOSSES = ("sigmoid", "robust", "exo_pair", "aot", "aot_pair", "aot_unpaired")


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
    save_steps: int | None = option(
        None, "save a checkpoint every so many steps; none saves none on the way", at_least=1
    )
    save_total_limit: int | None = option(None, "keep the newest so many checkpoints; none keeps all", at_least=1)
    do_last_save: bool = option(True, "write the trained model, a Hugging Face folder, at the end")
    log_steps: int = option(10, "log metrics every so many steps", at_least=1)
    log_logit_metrics: bool = option(True, "also log entropy, logits/chosen, logits/rejected and token accuracy")
    progress_bar: bool = option(True, "show a progress bar")
    use_wandb: bool = option(False, "also log to Weights & Biases, when it is installed")

    # Loss
    loss_type: str | Callable[..., Any] = option(
        "sigmoid", "preference loss; in Python also a function of your own", group="loss", choices=LOSS_TYPES
    )
    beta: float = option(0.1, "how strongly the policy is held to the reference", above=0)
    label_smoothing: float = option(
        0.0, "share of preference labels taken to be wrong; exo_pair needs more than 0", at_least=0, below=0.5
    )
    discopop_tau: float = option(0.05, "temperature at which discopop blends its two losses", above=0)

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
    num_train_epochs: int = option(1, "passes over the training data", at_least=1)
    max_training_steps: int | None = option(None, "stop after so many steps; none is no limit", at_least=1)
    shuffle_train_dataset: bool = option(True, "shuffle each epoch; false keeps the order of the data")

    # Optimizer and schedule
    optimizer: Literal["adamw", "adafactor", "lion", "rmsprop", "muon"] = option(
        "adamw", "optimizer", group="optimizer"
    )
    learning_rate: float = option(1e-6, "highest learning rate", above=0)
    learning_rate_end: float | None = option(
        None, "learning rate towards which linear and cosine fall; none is 0", at_least=0
    )
    scheduler: Literal["none", "constant", "linear", "cosine"] = option(
        "none", "learning rate after the warm-up; none and constant both keep it"
    )
    warmup_steps: int = option(0, "steps over which the learning rate rises from 0", at_least=0)
    weight_decay: float = option(0.0, "decoupled weight decay", at_least=0)
    clip_grad: float | None = option(None, "largest global norm of the gradient; none does not clip", above=0)
    adam_beta1: float | None = option(
        None, "decay of the first moment; none is the optimizer's own", at_least=0, below=1
    )
    adam_beta2: float | None = option(
        None, "decay of the second moment; none is the optimizer's own", at_least=0, below=1
    )
    adam_epsilon: float | None = option(
        None, "added to the denominator of the update; none is the optimizer's own", above=0
    )
    param_dtype: Literal["float32", "bfloat16", "float16"] | None = option(
        None, "dtype of the trained weights; none keeps the model's"
    )

    # Model behaviour
    disable_dropout: bool = option(True, "train without dropout", group="model")

    # Evaluation
    evaluation_steps: int | None = option(
        None,
        "evaluate every so many steps, before the first and after the last; none is these two only",
        group="evaluation",
        at_least=1,
    )
    max_evaluation_steps: int | None = option(None, "batches per evaluation; none is the whole set", at_least=1)
    generation_prompts: int = option(0, "evaluation prompts to answer before and after training", at_least=0)
    generation_max_new_tokens: int = option(64, "tokens per answer", at_least=1)

    def __new__(cls, **values: object) -> Self:
        # The constructor that dataclass writes would raise a TypeError that names no neighbour.
        reject_unknown(values, cls)
        return super().__new__(cls)

    def __post_init__(self) -> None:
        check_fields(self)
        _check_name(self.model_name)
        _check_loss(self)
        _check_sizes(self)
        _check_optimizer(self)

    @property
    def run_folder(self) -> Path:
        """The folder everything of this run is written to."""
        return Path(self.save_directory) / self.model_name

    def to_dict(self) -> dict[str, Any]:
        """Returns the settings as plain values; a loss function of one's own is given as `module:name`."""
        values = dataclasses.asdict(self)
        if callable(self.loss_type):
            # A `functools.partial`, or an instance that can be called, has no name of its own.
            name = getattr(self.loss_type, "__qualname__", type(self.loss_type).__qualname__)
            values["loss_type"] = f"{self.loss_type.__module__}:{name}"
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


def _check_name(name: str) -> None:
    """Refuses a run name that is not one folder: `../x` would write outside save_directory."""
    if name in ("", ".", "..") or any(mark in name for mark in "/\\\0"):
        plain = "-".join(part for part in name.replace("\\", "/").split("/") if part.strip(".")) or "dpo"
        raise ConfigError(
            f"model_name = {name!r} must be one plain folder name: write {plain!r}, and put folders in save_directory."
        )


def _check_loss(config: DPOConfig) -> None:
    loss, smoothing = config.loss_type, config.label_smoothing
    if loss == "exo_pair" and smoothing == 0:
        raise ConfigError(
            "label_smoothing = 0.0 must be above 0 for loss_type 'exo_pair', which takes its logarithm: try 0.001."
        )
    if isinstance(loss, str) and loss not in SMOOTHED_LOSSES and smoothing > 0:
        raise ConfigError(
            f"label_smoothing = {smoothing} has no meaning for loss_type {loss!r}: "
            "set it to 0, or take 'sigmoid' or 'robust'."
        )
    if isinstance(loss, str) and loss != "discopop" and config.discopop_tau != DPOConfig.discopop_tau:
        raise ConfigError(
            f"discopop_tau = {config.discopop_tau} has no meaning for loss_type {loss!r}: "
            "take loss_type 'discopop', or leave it out."
        )
    if config.reference_free and config.sync_ref_model:
        raise ConfigError(
            "sync_ref_model = True needs a reference, but reference_free = True trains without one: "
            "drop one of the two."
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


def _check_optimizer(config: DPOConfig) -> None:
    for name in UNUSED_BY_OPTIMIZER.get(config.optimizer, ()):
        if getattr(config, name) is not None:
            raise ConfigError(
                f"{name} = {getattr(config, name)} has no meaning for optimizer {config.optimizer!r}: "
                "drop it, or take 'adamw'."
            )
    if config.learning_rate_end is not None and config.scheduler in ("none", "constant"):
        raise ConfigError(
            f"learning_rate_end = {config.learning_rate_end} has no meaning with "
            f"scheduler {config.scheduler!r}: take 'linear' or 'cosine', or drop it."
        )
