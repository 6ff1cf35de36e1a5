"""`RunConfig`: the options that belong to the command line, which load a model and data and place them on devices."""

import dataclasses
from typing import Literal

from easydel.errors import ConfigError
from easydel.scripts.datasets import check_configs, check_datasets, eval_names, names_of
from easydel.scripts.loading import axis_dims
from easydel.trainers.options.fields import option
from easydel.trainers.options.values import check_fields


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunConfig:
    """What the command line loads, and onto which devices; `DPOConfig` says how it is trained.

    Raises:
        ConfigError: a value out of range, a model without data or the other way round, or datasets, weights and
            configs that do not match.
    """

    repo_id: str = option("", "model to train: a folder or a hub name", group="model", common=True)
    revision: str | None = option(None, "branch, tag or commit of repo_id on the hub (default: main)")
    processor_repo_id: str | None = option(None, "tokenizer: a folder or a hub name (default: repo_id)")
    reference_model_repo_id: str | None = option(
        None, "reference model (default: the model before training); also spelled --refrence_model_repo_id, as EasyDeL"
    )
    quantization: Literal["nf4", "int8"] | None = option(
        None, "quantize the weights of the model as they are read, under adapters (default: no quantization)"
    )
    dtype: Literal["float32", "bfloat16", "float16"] | None = option(
        None, "dtype of the computation (default: bfloat16 on accelerators, float32 on CPU)"
    )
    precision: Literal["default", "high", "highest"] | None = option(
        None, "precision of float32 matrix products (default: the device's own)"
    )
    attn_mechanism: str = option(
        "auto",
        "implementation of attention: vanilla, blockwise (CPU), sdpa, cudnn (NVIDIA) or splash (TPU); auto: the "
        "fastest that does what the model needs",
    )
    gradient_checkpointing: str = option(
        "",
        "what the backward pass keeps: a policy of jax.checkpoint_policies; true is nothing_saveable, which needs the "
        "least memory (default: everything)",
        common=True,
        same={"true": "nothing_saveable", "false": ""},  # TRL, axolotl and LLaMA-Factory turn it on or off
    )

    dataset_name: str | list[str] = option(
        "", "preference pairs: a file, a folder, a glob or a hub name; several are mixed", group="data", common=True
    )
    dataset_config: str | list[str] | None = option(
        None,
        "config (subset) of dataset_name; of several datasets that of all, or one for each, with none for one without "
        "(default: the only one)",
    )
    dataset_split: str = option("train", 'split of dataset_name, such as "train[:90%]"', common=True)
    dataset_weights: list[float] | None = option(
        None, "how often each of several datasets is drawn from (default: every row once)", above=0
    )
    dataset_stop: Literal["first_exhausted", "all_exhausted"] = option(
        "first_exhausted",
        "with dataset_weights: an epoch ends with the first dataset that does, or when all have, those that ended "
        "earlier starting again",
    )
    streaming: bool = option(False, "read training pairs during training, for max_training_steps, not before")
    eval_dataset_name: str | list[str] | None = option(
        None,
        "eval pairs, several datasets as name=dataset (default: dataset_name, when eval_dataset_split is given)",
        common=True,
    )
    eval_dataset_config: str | list[str] | None = option(
        None, "config of each eval dataset (default: dataset_config, for a dataset that is trained on too)"
    )
    eval_dataset_split: str | None = option(None, "split to evaluate on (default: the only one)")

    sharding_axis: str = option(
        "1,-1,1,1,1", "devices along dp,fsdp,ep,tp,sp; -1: those that are left", group="devices"
    )
    coordinator_address: str | None = option(
        None, "host:port of the first of several processes (default: what the cluster says, or a single process)"
    )
    num_processes: int | None = option(
        None, "processes of the run, with coordinator_address (default: what the cluster says)", at_least=1
    )
    process_id: int | None = option(
        None, "number of this process, from 0, with coordinator_address (default: what the cluster says)", at_least=0
    )
    peer_timeout: int = option(100, "seconds without a sign of life of one process after which all end", at_least=1)
    compilation_cache: bool = option(True, "keep compiled programs in a private folder for the next run")
    huge_pages: bool = option(True, "on Linux, restart with large memory pages, which are faster on CPU")

    def __post_init__(self) -> None:
        check_fields(self)
        for given, missing in (("repo_id", "dataset_name"), ("dataset_name", "repo_id")):
            value = getattr(self, given)
            if value and not getattr(self, missing):
                words = " ".join(names_of(value))
                raise ConfigError(f"--{given} {words} needs --{missing} too; with neither, the quick start runs.")
        check_datasets(self.dataset_name, self.dataset_weights, self.dataset_stop)
        sets = list(eval_names(self.eval_dataset_name or "").values())
        check_configs("dataset_config", self.dataset_config, names_of(self.dataset_name))
        evaluated = sets if self.eval_dataset_name else names_of(self.dataset_name)
        check_configs("eval_dataset_config", self.eval_dataset_config, evaluated)
        if self.eval_dataset_config is not None and not (self.eval_dataset_name or self.eval_dataset_split):
            raise ConfigError(
                "--eval_dataset_config has no effect without an eval dataset: name one with --eval_dataset_name, or a "
                "split of --dataset_name with --eval_dataset_split."
            )
        axis_dims(self.sharding_axis)
