"""Trains a language model on preference pairs: `python -m easydel.scripts.finetune.dpo`, or `easydel-dpo`.

Without a model and data it trains the small model that comes with the package, in about a minute on a laptop.
"""

import importlib
import logging
import os
import signal
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import easydel
from easydel import processes
from easydel.display.display import make_display
from easydel.display.streams import harden
from easydel.errors import ConfigError, DataError, Interrupted, WeightsError, with_notes
from easydel.scripts.datasets import describe, eval_names, load_eval, load_training, names_of, place_of
from easydel.scripts.finetune import models
from easydel.scripts.finetune.command_line import PROGRAM, parse
from easydel.scripts.finetune.run_config import RunConfig
from easydel.scripts.huge_pages import start_over
from easydel.scripts.loading import find_model, load_tokenizer
from easydel.trainers.config import DPOConfig
from easydel.trainers.record.run_folder import check_apart, check_writable, hold
from easydel.trainers.signals import EXIT_CODE, HANGUP

if TYPE_CHECKING:
    from easydel.trainers.dpo import TrainResult


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit status.

    It is 2 for an error that the user can fix, and 75 where a signal ended the run after it was saved. A second
    signal, or one outside training, ends a single process at once, as 128 + its number.
    """
    logging.getLogger("transformers").addFilter(_is_not_about_torch)
    logging.getLogger("absl").setLevel(logging.CRITICAL)  # orbax logs the tracebacks of errors that it raises anyway
    harden()
    words = sys.argv[1:] if argv is None else argv
    if words and words[0] in PROGRAM.commands:
        if argv is None:
            _end_without_traceback()
        return importlib.import_module(f"easydel.scripts.{words[0]}").main(words[1:])
    display = make_display("tqdm")
    with warnings.catch_warnings():
        # Without the place in the code, which helps a programmer and not a user.
        warnings.showwarning = lambda message, *where: display.warn("warning", str(message))
        try:
            run, config = parse(words)
            display = make_display(config.progress_bar_type)
            if argv is None:  # otherwise the process is somebody else's
                if run.huge_pages:
                    start_over()
                _end_without_traceback()  # a run listens for it
            return train(run, config)
        except (ConfigError, DataError, WeightsError, OSError) as error:
            display.warn("error", with_notes(error))
            if argv is None:
                processes.leave(2)
            return 2
        except Interrupted as asked:
            if argv is None:
                for each in HANGUP:  # a terminal that closes sends it again
                    signal.signal(each, signal.SIG_IGN)
            display.event("interrupted", {"text": str(asked), "signal": asked.signal}, "")
            print(asked, file=sys.stderr)
            processes.stop()
            if argv is None:  # Python would wait for the compiler, which nobody waits for any more
                sys.stdout.flush()
                os._exit(EXIT_CODE)
            return EXIT_CODE


def _end_without_traceback() -> None:
    """Makes Ctrl-C end this process as it does other programs, unless it was started to ignore it, as by `&`."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def _is_not_about_torch(record: logging.LogRecord) -> bool:
    """Leaves out what transformers says when it is imported without torch, which nothing here needs."""
    return not record.getMessage().startswith("PyTorch was not found")


def train(run: RunConfig, config: DPOConfig) -> int:
    """Loads model, reference, tokenizer and data, and trains; a summary is printed at the end. Returns the exit status.

    Raises:
        ConfigError: options that cannot work, or most steps were skipped.
        DataError: rows that cannot be trained on, with the dataset that they are in.
        WeightsError: a model that cannot be read.
    """
    processes.start(run.coordinator_address, run.num_processes, run.process_id, peer_timeout=run.peer_timeout)
    # Folder, data and tokenizer first: their mistakes show in a second, a model may take minutes to load.
    check_writable(config)
    check_apart(config, _read_by(run))
    with hold(config):  # a second run of this name ends here
        models.check_same_run(run, config)
        result = _loaded_and_trained(run, config)
    processes.stop()
    if 2 * result.skipped_steps > result.steps:
        raise ConfigError(
            f"{result.skipped_steps} of {result.steps} steps were skipped, as their loss or gradient was not finite: "
            "the model is hardly trained. Lower learning_rate or set clip_grad."
        )
    return 2 if "hub" in result.not_written else 0  # the model is saved, and was to be uploaded


def _loaded_and_trained(run: RunConfig, config: DPOConfig) -> "TrainResult":
    if config.push_to_hub:
        from easydel.trainers.hub import requested_repository  # imports the client of the hub

        requested_repository(config)
    train_rows = load_training(
        run.dataset_name,
        run.dataset_split,
        configs=run.dataset_config,
        weights=run.dataset_weights,
        stop=run.dataset_stop,
        streaming=run.streaming,
        seed=config.seed,
        on_bad_row=config.on_bad_row,
    )
    eval_rows = load_eval(
        run.eval_dataset_name,
        run.dataset_name,
        run.eval_dataset_split,
        configs=run.eval_dataset_config,
        training_configs=run.dataset_config,
        on_bad_row=config.on_bad_row,
    )
    names = filter(None, (run.repo_id, run.reference_model_repo_id))
    folders = {name: find_model(name) for name in dict.fromkeys(names)}
    if run.revision is not None:
        from easydel.models.folders import check_revision

        check_revision(folders[run.repo_id], run.revision)
    tokenizer = load_tokenizer(
        run.processor_repo_id or folders[run.repo_id], None if run.processor_repo_id else run.revision
    )
    if run.compilation_cache:
        models.keep_compiled_programs()
    from easydel.trainers.model_card import is_local  # imports the client of the hub

    try:
        model = models.load_model(run, config, folders[run.repo_id], run.revision)
        trainer = easydel.DPOTrainer(
            arguments=config,
            model=model,
            reference_model=models.load_reference(run, config, model, folders),
            processing_class=tokenizer,
            train_dataset=train_rows,
            eval_dataset=eval_rows,
            dataset_names=[name for name in names_of(run.dataset_name) if not is_local(name)],
        )
        return trainer.train()
    except DataError as error:
        sets = {"train_dataset": train_rows, "eval_dataset": eval_rows}
        place = place_of(str(error), sets, run.dataset_name, config.max_samples)
        said = DataError(f"{error}{place} Rows count from 0; {sources(run)}.")
        for note in getattr(error, "__notes__", ()):
            said.add_note(note)
        raise said from error


def _read_by(run: RunConfig) -> Iterator[tuple[str, str]]:
    """Yields the folders and files, or hub names, that a run reads, each after the option that says it."""
    for name in ("repo_id", "processor_repo_id", "reference_model_repo_id"):
        yield name, getattr(run, name) or ""
    yield from (("dataset_name", name) for name in names_of(run.dataset_name))
    yield from (("eval_dataset_name", name) for name in eval_names(run.eval_dataset_name or "").values())


def sources(run: RunConfig) -> str:
    """Returns which files the datasets in error messages are."""
    words = f"train_dataset is {describe(run.dataset_name, run.dataset_split, run.dataset_config)}"
    if not (run.eval_dataset_name or run.eval_dataset_split):
        return words
    named, configs = run.eval_dataset_name, run.eval_dataset_config
    sets = list(eval_names(named).values()) if named else run.dataset_name
    configs = run.dataset_config if configs is None and not named else configs
    return f"{words}, eval_dataset {describe(sets, run.eval_dataset_split, configs)}"


if __name__ == "__main__":
    sys.exit(main())
