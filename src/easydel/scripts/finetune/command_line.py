"""From the words of a command line to what is loaded and how it is trained; the quick start without model and data."""

from collections.abc import Mapping, Sequence
from typing import Any

import easydel
from easydel.errors import ConfigError
from easydel.scripts.arguments import make, parse_arguments
from easydel.scripts.finetune.run_config import RunConfig
from easydel.scripts.flags import Program
from easydel.trainers.config import DPOConfig
from easydel.trainers.intervals import resolve_intervals
from easydel.trainers.options.evaluation import NEED_EVAL_ROWS

PROGRAM = Program(
    "easydel-dpo",
    "Trains a language model on preference pairs; without model and data, a quick start.",
    f"easydel-dpo {easydel.__version__}",
    commands={
        "checkpoint": "makes a model of a checkpoint, with tokenizer and card",
        "doctor": "reports what a bug report should say about this machine, and what is wrong with it",
        "inspect": "looks at preference pairs before they are trained on",
        "report": "makes the report of a run again, or a page that compares several runs",
    },
)
# Options under which the built-in model learns the built-in preferences; flags override them.
QUICK_START: Mapping[str, Any] = {
    "model_name": "quickstart",
    "learning_rate": 1e-4,
    "beta": 0.3,
    "scheduler": "linear",
    "warmup_steps": 5,
    "max_length": 128,
    "evaluation_steps": 25,
    "generation_prompts": 6,
}
# Options that name something: an empty value is a shell variable that was not set, not a wish.
NAMES = (
    "repo_id",
    "revision",
    "processor_repo_id",
    "reference_model_repo_id",
    "dataset_name",
    "dataset_config",
    "dataset_split",
    "eval_dataset_name",
    "eval_dataset_config",
    "eval_dataset_split",
)


def parse(argv: Sequence[str]) -> tuple[RunConfig, DPOConfig]:
    """Returns what to load and how to train it; with no model and no data given, the quick start.

    Raises:
        SystemExit: after `--help`, `--version` and `--print_completion`.
        ConfigError: a command line that cannot be read, or options that cannot work, alone or together.
    """
    aliases = {"refrence_model_repo_id": "reference_model_repo_id"}
    values = parse_arguments(argv, (RunConfig, DPOConfig), PROGRAM, aliases=aliases)
    for name in NAMES:
        if name in values and not str(values[name]).strip():
            raise ConfigError(f"--{name} is empty: is a shell variable not set? Give it a value, or leave it out.")
    if not values.keys() & {"repo_id", "dataset_name"}:
        from easydel import quickstart

        files = {
            "repo_id": str(quickstart.model_folder()),
            "dataset_name": str(quickstart.train_file()),
            "eval_dataset_name": str(quickstart.eval_file()),
        }
        if values.get("test_split_size") is not None:
            del files["eval_dataset_name"]
        values = {**files, **_fitting(QUICK_START, values), **values}
    run, config = make(RunConfig, values), make(DPOConfig, values)
    if not config.needs_reference and run.reference_model_repo_id:
        without = "--reference_free" if config.reference_free else f"--loss_type {config.loss_type}"
        raise ConfigError(
            f"{without} trains without a reference, but --reference_model_repo_id "
            f"{run.reference_model_repo_id} gives one: leave out one of the two."
        )
    _check_eval_rows(run, config)
    if run.streaming and config.max_training_steps is None:
        raise ConfigError(
            "--streaming reads pairs during training and does not know how many there are: set --max_training_steps, "
            "or leave --streaming out."
        )
    if run.streaming:
        from easydel.data.stream import check_stream  # numpy takes longer than all of `--help`

        # What a stream cannot do shows before a model is loaded.
        resolve_intervals(config, config.max_training_steps or 1, None)
        check_stream(config.num_train_epochs, config.shuffle_train_dataset, config.shuffle_buffer_size)
    return run, config


def _fitting(defaults: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns those defaults of the quick start that the given options do not replace."""
    replaced = {"lr_scheduler_type": "scheduler", "warmup_ratio": "warmup_steps"}
    dropped = {replaced[name] for name in given if name in replaced}
    if given.get("scheduler", given.get("lr_scheduler_type")) == "constant":
        dropped.add("warmup_steps")
    return {name: value for name, value in defaults.items() if name not in dropped}


def _check_eval_rows(run: RunConfig, config: DPOConfig) -> None:
    """Raises ConfigError for eval rows that are missing, or cannot be split off, before any is read."""
    given = next((name for name in ("eval_dataset_name", "eval_dataset_split") if getattr(run, name)), None)
    if config.test_split_size is None:
        asking = next((name for name in NEED_EVAL_ROWS if getattr(config, name) != getattr(DPOConfig, name)), None)
        if asking is not None and given is None:
            raise ConfigError(
                f"--{asking} {getattr(config, asking)} needs eval rows: name some with --eval_dataset_name, a split of "
                "--dataset_name with --eval_dataset_split, or take some of the training rows with --test_split_size."
            )
        return
    if given is not None:
        raise ConfigError(
            f"--test_split_size {config.test_split_size:g} takes eval rows from --dataset_name, and --{given} names "
            "others: leave out one of the two."
        )
    if run.streaming:
        raise ConfigError(
            f"--test_split_size {config.test_split_size:g} cannot take eval rows from a stream, whose rows are not "
            "known before they are trained on: leave --streaming out, or name eval pairs with --eval_dataset_name."
        )
