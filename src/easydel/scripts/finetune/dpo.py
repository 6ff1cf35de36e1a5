"""Trains a language model on preference pairs: `python -m easydel.scripts.finetune.dpo`, or `easydel-dpo`.

Without a model and data it trains the small model that comes with the package, in about a minute on a laptop.
"""

import dataclasses
import logging
import os
import signal
import stat
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import easydel
from easydel import processes
from easydel.display.display import accept_all_text, make_display
from easydel.errors import ConfigError, DataError, Interrupted, WeightsError
from easydel.scripts.arguments import make, parse_arguments
from easydel.scripts.datasets import (
    check_configs,
    check_datasets,
    describe,
    evaluation_sets,
    load_evaluation,
    load_training,
    names_of,
    place_of,
)
from easydel.scripts.huge_pages import start_over
from easydel.scripts.loading import axis_dims, check_model, load_tokenizer
from easydel.trainers.config import DPOConfig
from easydel.trainers.fields import check_fields, option
from easydel.trainers.interrupt import EXIT_CODE
from easydel.trainers.pace import pace_of
from easydel.trainers.run_folder import check_apart, check_writable

if TYPE_CHECKING:
    from easydel.models.auto import CausalLM

# Settings under which the built-in model learns the built-in preferences; flags go over them.
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunConfig:
    """What the command line loads, and onto which devices; `DPOConfig` says how it is trained."""

    repo_id: str = option("", "model to train: a folder or a hub name", group="model and data")
    revision: str | None = option(None, "branch, tag or commit of repo_id on the hub")
    processor_repo_id: str | None = option(None, "tokenizer: a folder or a hub name; none is repo_id")
    reference_model_repo_id: str | None = option(
        None,
        "reference model; none is the model before training; EasyDeL's spelling, --refrence_model_repo_id, will do",
    )
    dataset_name: str | list[str] = option(
        "", "preference pairs: a file, a folder, a glob or a hub name; several are mixed"
    )
    dataset_config: str | list[str] | None = option(
        None,
        "config (subset) of dataset_name, for a dataset that has several; of several datasets that of all, or one for "
        "each, with none for one without",
    )
    dataset_split: str = option("train", 'split of dataset_name, such as "train[:90%]"')
    dataset_weights: list[float] | None = option(
        None, "how often each of several datasets is drawn from; none takes every row once", above=0
    )
    dataset_stop: Literal["first_exhausted", "all_exhausted"] = option(
        "first_exhausted",
        "with dataset_weights: an epoch ends with the first dataset that does, or when all have, those that ended "
        "earlier starting again",
    )
    streaming: bool = option(False, "read training pairs as training goes, for max_training_steps, and none before")
    eval_dataset_name: str | list[str] | None = option(
        None,
        "pairs to evaluate on, several sets as name=dataset; none is dataset_name, when eval_dataset_split is given",
    )
    eval_dataset_config: str | list[str] | None = option(
        None, "config of each evaluation set; none is dataset_config for a dataset that is trained on too"
    )
    eval_dataset_split: str | None = option(None, "split to evaluate on; none is the only one there is")

    dtype: Literal["float32", "bfloat16", "float16"] | None = option(
        None, "dtype of the computation; none is bfloat16 on accelerators, float32 on CPU", group="devices"
    )
    precision: Literal["default", "high", "highest"] | None = option(
        None, "precision of float32 matrix products; none is the device's own"
    )
    sharding_axis: str = option("1,-1,1,1,1", "devices along dp,fsdp,ep,tp,sp; -1 takes what is left")
    attn_mechanism: str = option(
        "auto",
        "implementation of attention: vanilla, blockwise (CPU), sdpa, cudnn (NVIDIA) or splash (TPU); auto takes the "
        "fastest that does what the model needs",
    )
    gradient_checkpointing: str = option(
        "",
        "what the backward pass keeps: a policy of jax.checkpoint_policies; true is nothing_saveable, which takes the "
        "least memory",
        same={"true": "nothing_saveable", "false": ""},  # TRL, axolotl and LLaMA-Factory turn it on or off
    )
    coordinator_address: str | None = option(
        None, "host:port of the first of several processes; none is what the cluster says, or a single process"
    )
    num_processes: int | None = option(None, "processes of the run, with coordinator_address", at_least=1)
    process_id: int | None = option(None, "which of them this is, from 0, with coordinator_address", at_least=0)
    peer_timeout: int = option(100, "seconds without a sign of life of one process after which all end", at_least=1)
    quantization: Literal["nf4", "int8"] | None = option(
        None, "pack the weights of the model as they are read, under adapters (lora_rank); none packs nothing"
    )
    compilation_cache: bool = option(True, "keep compiled programs in a private folder for the next run")
    huge_pages: bool = option(True, "on Linux, start over with large memory pages, which are faster on CPU")

    def __post_init__(self) -> None:
        check_fields(self)
        for given, missing in (("repo_id", "dataset_name"), ("dataset_name", "repo_id")):
            value = getattr(self, given)
            if value and not getattr(self, missing):
                words = " ".join(names_of(value))
                raise ConfigError(f"--{given} {words} needs --{missing} too; with neither, the quick start runs.")
        check_datasets(self.dataset_name, self.dataset_weights, self.dataset_stop)
        sets = list(evaluation_sets(self.eval_dataset_name or "").values())
        check_configs("dataset_config", self.dataset_config, names_of(self.dataset_name))
        evaluated = sets if self.eval_dataset_name else names_of(self.dataset_name)
        check_configs("eval_dataset_config", self.eval_dataset_config, evaluated)
        if self.eval_dataset_config is not None and not (self.eval_dataset_name or self.eval_dataset_split):
            raise ConfigError(
                "--eval_dataset_config has no meaning without an evaluation set: name one with --eval_dataset_name, "
                "or a split of --dataset_name with --eval_dataset_split."
            )
        axis_dims(self.sharding_axis)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit status.

    It is 2 for an error that the user can put right, and 75 where a signal ended the run after it was saved. A second
    signal, or one outside training, ends a single process at once, as 128 + its number.
    """
    logging.getLogger("transformers").addFilter(_is_not_about_torch)
    logging.getLogger("absl").setLevel(logging.CRITICAL)  # orbax logs the tracebacks of errors that it raises anyway
    accept_all_text()
    words = sys.argv[1:] if argv is None else argv
    if words[:1] == ["doctor"]:
        from easydel.scripts import doctor  # no other command needs it

        return doctor.main(words[1:])
    if words[:1] == ["report"]:
        from easydel import report

        return report.main(words[1:])
    display = make_display("tqdm")
    with warnings.catch_warnings():
        # Without the place in the code, which helps a programmer and not a user.
        warnings.showwarning = lambda message, *where: display.complain("warning", str(message))
        try:
            run, config = parse(words)
            display = make_display(config.progress_bar_type)
            if argv is None:  # otherwise the process is somebody else's
                if run.huge_pages:
                    start_over()
                signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback; a run listens for it
            train(run, config)
        except (ConfigError, DataError, WeightsError, OSError) as error:
            display.complain("error", str(error))
            if argv is None:
                processes.leave(2)
            return 2
        except Interrupted as asked:
            display.event("interrupted", {"text": str(asked), "signal": asked.signal}, "")
            print(asked, file=sys.stderr)
            processes.stop()
            if argv is None:  # Python would wait for the compiler, which nobody waits for any more
                sys.stdout.flush()
                os._exit(EXIT_CODE)
            return EXIT_CODE
    return 0


def _is_not_about_torch(record: logging.LogRecord) -> bool:
    """Leaves out what transformers says when it is imported without torch, which nothing here needs."""
    return not record.getMessage().startswith("PyTorch was not found")


def parse(argv: Sequence[str]) -> tuple[RunConfig, DPOConfig]:
    """Returns what to load and how to train it; with no model and no data given, the quick start."""
    values = parse_arguments(
        argv,
        (RunConfig, DPOConfig),
        program="easydel-dpo",
        description="Trains a language model on preference pairs; without model and data, a quick start.",
        version=f"easydel-dpo {easydel.__version__}",
        aliases={"refrence_model_repo_id": "reference_model_repo_id"},
        commands={
            "doctor": "says what a bug report should say about this machine, and what is wrong with it",
            "report": "makes the report of a run again, or a page that compares several runs",
        },
    )
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
            f"{run.reference_model_repo_id} gives one: drop one of the two."
        )
    _check_held_out(run, config)
    if run.streaming and config.max_training_steps is None:
        raise ConfigError(
            "--streaming reads pairs as training goes and never knows how many there are: say with "
            "--max_training_steps how long to train, or leave --streaming out."
        )
    if run.streaming:
        from easydel.data.stream import check_stream  # numpy takes longer than all of `--help`

        # What has no meaning there shows before a model is loaded.
        pace_of(config, config.max_training_steps or 1, None)
        check_stream(config.num_train_epochs, config.shuffle_train_dataset, config.shuffle_buffer_size)
    return run, config


def _fitting(defaults: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns those defaults of the quick start that what was given leaves a meaning."""
    replaced = {"lr_scheduler_type": "scheduler", "warmup_ratio": "warmup_steps"}
    dropped = {replaced[name] for name in given if name in replaced}
    if given.get("scheduler", given.get("lr_scheduler_type")) == "constant":
        dropped.add("warmup_steps")
    return {name: value for name, value in defaults.items() if name not in dropped}


def _check_held_out(run: RunConfig, config: DPOConfig) -> None:
    """Raises ConfigError for rows to evaluate on that are missing, or cannot be held out, before any is read."""
    given = next((name for name in ("eval_dataset_name", "eval_dataset_split") if getattr(run, name)), None)
    if config.test_split_size is None:
        asking = next((name for name in ("evaluation_steps", "best_metric") if getattr(config, name) is not None), None)
        if asking is not None and given is None:
            raise ConfigError(
                f"--{asking} {getattr(config, asking)} needs held-out rows: name some with --eval_dataset_name, a "
                "split of --dataset_name with --eval_dataset_split, or hold training rows out with --test_split_size."
            )
        return
    if given is not None:
        raise ConfigError(
            f"--test_split_size {config.test_split_size:g} holds rows out of --dataset_name to evaluate on, and "
            f"--{given} names others: drop one of the two."
        )
    if run.streaming:
        raise ConfigError(
            f"--test_split_size {config.test_split_size:g} cannot be held out of a stream, whose rows are not known "
            "before they are trained on: leave --streaming out, or name other pairs with --eval_dataset_name."
        )


def train(run: RunConfig, config: DPOConfig) -> None:
    """Loads model, reference, tokenizer and data, and trains; what came out and where it is, is printed at the end."""
    processes.start(run.coordinator_address, run.num_processes, run.process_id, peer_timeout=run.peer_timeout)
    # Folder, data and tokenizer first: their mistakes show in a second, a model may take minutes to load.
    check_writable(config)
    check_apart(config, _read_by(run))
    if config.push_to_hub:
        from easydel.trainers.export import repository_of  # imports the client of the hub

        repository_of(config)
    train_rows = load_training(
        run.dataset_name,
        run.dataset_split,
        configs=run.dataset_config,
        weights=run.dataset_weights,
        stop=run.dataset_stop,
        streaming=run.streaming,
        seed=config.seed,
    )
    eval_rows = load_evaluation(
        run.eval_dataset_name,
        run.dataset_name,
        run.eval_dataset_split,
        configs=run.eval_dataset_config,
        training_configs=run.dataset_config,
    )
    for name in (run.repo_id, run.reference_model_repo_id):
        check_model(name)
    tokenizer = load_tokenizer(run.processor_repo_id or run.repo_id, None if run.processor_repo_id else run.revision)
    if run.compilation_cache:
        keep_compiled_programs()
    from easydel.trainers.card import is_local  # imports the client of the hub

    try:
        model = load_model(run, config, run.repo_id, run.revision)
        trainer = easydel.DPOTrainer(
            arguments=config,
            model=model,
            reference_model=load_reference(run, config, model),
            processing_class=tokenizer,
            train_dataset=train_rows,
            eval_dataset=eval_rows,
            dataset_names=[name for name in names_of(run.dataset_name) if not is_local(name)],
        )
        result = trainer.train()
    except DataError as error:
        sets = {"train_dataset": train_rows, "eval_dataset": eval_rows}
        place = place_of(str(error), sets, run.dataset_name, config.max_samples)
        raise DataError(f"{error}{place} Rows count from 0; {sources(run)}.") from error
    processes.stop()
    if 2 * result.skipped_steps > result.steps:
        raise ConfigError(
            f"{result.skipped_steps} of {result.steps} steps were skipped, as their loss or gradient was not finite: "
            "the model is hardly trained. Lower learning_rate or set clip_grad."
        )


def _read_by(run: RunConfig) -> Iterator[tuple[str, str]]:
    """Yields the folders and files, or hub names, that a run reads, each after the option that says it."""
    for name in ("repo_id", "processor_repo_id", "reference_model_repo_id"):
        yield name, getattr(run, name) or ""
    yield from (("dataset_name", name) for name in names_of(run.dataset_name))
    yield from (("eval_dataset_name", name) for name in evaluation_sets(run.eval_dataset_name or "").values())


def sources(run: RunConfig) -> str:
    """Returns in words which files the datasets that error messages speak of are."""
    words = f"train_dataset is {describe(run.dataset_name, run.dataset_split, run.dataset_config)}"
    if not (run.eval_dataset_name or run.eval_dataset_split):
        return words
    named, configs = run.eval_dataset_name, run.eval_dataset_config
    sets = list(evaluation_sets(named).values()) if named else run.dataset_name
    configs = run.dataset_config if configs is None and not named else configs
    return f"{words}, eval_dataset {describe(sets, run.eval_dataset_split, configs)}"


def load_model(run: RunConfig, config: DPOConfig, name: str, revision: str | None) -> "CausalLM":
    """Returns the model in a folder or on the hub, placed on the devices; policy and reference load alike."""
    import jax
    import jax.numpy as jnp

    # bfloat16 products are slower than float32 ones on most CPUs.
    dtype = run.dtype or ("float32" if jax.default_backend() == "cpu" else "bfloat16")
    # Under adapters the weights are only computed with: what they are cast to there is all that they need to be.
    kept = "float32" if config.lora_rank is None else dtype
    return easydel.AutoEasyDeLModelForCausalLM.from_pretrained(
        name,
        dtype=jnp.dtype(dtype),
        param_dtype=jnp.dtype(config.param_dtype or kept),
        precision=run.precision,
        sharding_axis_dims=axis_dims(run.sharding_axis),
        attn_mechanism=run.attn_mechanism,
        gradient_checkpointing=run.gradient_checkpointing,
        quantization=run.quantization,
        revision=revision,
        progress_bar_type=config.progress_bar_type,
    )


def load_reference(run: RunConfig, config: DPOConfig, model: "CausalLM") -> "CausalLM | None":
    """Returns the reference model, None for the model as it starts; what is in memory already is not loaded again."""
    name = run.reference_model_repo_id
    if name is None or (name == run.repo_id and run.revision is None):  # `revision` is that of repo_id alone
        return None
    if model.lora is not None and name == model.origin.name:
        return model.without_adapters()
    return load_model(run, config, name, None)


def keep_compiled_programs() -> None:
    """Makes jax keep compiled programs in a folder that only this user can read or write.

    A compiled program is run as it is found: a folder that others write to would let them run code here.
    """
    import jax

    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "easydel" / "xla"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(stat.S_IRWXU)
    except OSError as error:
        print(f"note: compiled programs are not kept: {error}", file=sys.stderr)
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))


if __name__ == "__main__":
    sys.exit(main())
