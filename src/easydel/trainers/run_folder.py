"""The folder of a run, `<save_directory>/<model_name>/`: who may write there, and what an earlier run leaves behind."""

import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from easydel.errors import ConfigError
from easydel.processes import agreed, by_first, is_first
from easydel.trainers.config import DPOConfig
from easydel.trainers.fields import read_yaml
from easydel.trainers.log import has_step, parsed, read_lines
from easydel.trainers.schedule_settings import depends_on_length

# Settings that change what a run shows or keeps, not what it computes: they may differ when a run is continued.
FREE_ON_RESUME = frozenset(
    {
        "resume",
        "save_directory",
        "save_steps",
        "save_interval_minutes",
        "save_total_limit",
        "max_skipped_steps",
        "do_last_save",
        "save_dtype",
        "merge_lora_before_save",
        "log_steps",
        "progress_bar_type",
        "report_to",
        "profile_steps",
        "push_to_hub",
        "hub_model_id",
        "hub_private_repo",
        "use_wandb",
        "wandb_entity",
        "wandb_name",
        "eval_batch_size",
        "evaluation_steps",
        "max_evaluation_steps",
        "evaluate_before_training",
        "load_best_at_end",
        "early_stopping_patience",
        "early_stopping_threshold",
        "generation_prompts",
        "generation_interval",
        "generation_max_new_tokens",
        "dataset_num_proc",
        "cache_directory",
        "precompute_ref_log_probs",
        "precompute_ref_batch_size",
    }
)


class RunFolder(NamedTuple):
    """A run folder that is ours to write to."""

    path: Path
    continues: bool  # it holds checkpoints of the same configuration, and resuming was asked for
    moved: Path | None  # where an earlier run was put

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"


def open_run_folder(config: DPOConfig) -> RunFolder:
    """Returns the folder of a run, made and holding `config.yaml`.

    With `resume="never"` an earlier run there is moved aside to `<model_name>.1`, `.2`, ...: nothing is overwritten.
    With `resume="auto"` it is continued, provided its configuration is the same.

    Raises:
        ConfigError: the folder cannot be written, or resuming was asked for with other settings than the run's.
    """
    path = config.run_folder
    try:
        earlier = path.exists() and any(path.iterdir())
        moved = None
        continues = earlier and config.resume == "auto" and (path / "config.yaml").exists()
        if continues:
            _require_same(config, path / "config.yaml")
        elif earlier:
            moved = next(p for n in _count() if not (p := path.with_name(f"{path.name}.{n}")).exists())
            path.rename(moved)
        path.mkdir(parents=True, exist_ok=True)
        config.to_yaml(path / "config.part")
        (path / "config.part").replace(path / "config.yaml")  # a kill leaves the old file or the new one
    except OSError as error:
        raise _unusable(path, error.strerror or error) from error
    return RunFolder(path, bool(continues), moved)


def open_together(config: DPOConfig) -> RunFolder:
    """Returns `open_run_folder`, which the first of several processes sees to, once it is done.

    Raises:
        ConfigError: as it does, in each process.
    """
    folder = by_first(lambda: open_run_folder(config)) or RunFolder(config.run_folder, False, None)
    return folder._replace(continues=agreed(folder.continues))


def check_writable(config: DPOConfig) -> None:
    """Raises ConfigError when the run folder could not be written; nothing is made."""
    path = config.run_folder.absolute()
    existing = next(folder for folder in (path, *path.parents) if folder.exists())
    if not existing.is_dir():
        raise _unusable(path, f"{existing} is not a folder")
    if not os.access(existing, os.W_OK):
        raise _unusable(path, f"{existing} may not be written to")


def check_apart(config: DPOConfig, sources: Iterable[tuple[str, str]]) -> None:
    """Raises ConfigError where what a run reads lies in its own folder, which it moves aside or writes over.

    The model of an earlier run would be gone from its place, and adapters on it would name themselves as their base.

    Args:
        sources: names of folders and files, or of the hub, each after the option that says it.
    """
    ours = config.run_folder.resolve()
    for option, name in sources:
        if name and Path(name).exists() and Path(name).resolve().is_relative_to(ours):
            raise ConfigError(
                f"{option} {name!r} lies in the folder of this run, {config.run_folder}, whose earlier content is "
                "moved aside or written over. Choose another model_name or save_directory."
            )


def _unusable(path: Path, reason: object) -> ConfigError:
    return ConfigError(
        f"the run folder {path} cannot be used: {reason}. Set save_directory to a folder that you may write to."
    )


def write_json(file: Path, value: Mapping[str, Any]) -> None:
    """Writes a JSON file that is whole at any moment: a kill leaves the old one or the new one.

    Of several processes the first one writes it.
    """
    if not is_first():
        return
    fresh = file.with_suffix(".part")
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    fresh.write_text(text, encoding="utf-8", errors="backslashreplace")  # half a surrogate pair, as JSON writes one
    fresh.replace(file)


def read_json(
    file: Path, holds: str = "anything", fits: Callable[[Mapping[str, Any]], bool] = lambda value: True
) -> dict[str, Any]:
    """Returns what `write_json` wrote, nothing if there is no file.

    Raises:
        DataError: a file that is no JSON object, or one that does not fit: it does not hold what it should.
    """
    return parsed(file.read_bytes(), str(file), holds, fits) if file.exists() else {}


def append_samples(folder: Path, samples: Iterable[dict[str, Any]]) -> None:
    """Appends sample answers to `samples.jsonl`, one JSON object a line: step, prompt, answer.

    `weights` is the step that the weights are of where that is another one. Of several processes the first one writes.
    """
    if not is_first():
        return
    with (folder / "samples.jsonl").open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(sample, ensure_ascii=False) + "\n" for sample in samples)


def read_samples(folder: Path) -> list[dict[str, Any]]:
    """Returns the sample answers of a run, oldest first.

    Raises:
        DataError: a line that is none.
    """
    return read_lines(folder / "samples.jsonl", "step, prompt and answer", _is_sample)


def _is_sample(entry: Mapping[str, Any]) -> bool:
    return has_step(entry) and all(isinstance(entry.get(name), str) for name in ("prompt", "answer"))


def _count() -> Iterable[int]:
    number = 1
    while True:
        yield number
        number += 1


def _require_same(config: DPOConfig, file: Path) -> None:
    now, then = config.to_dict(), read_yaml(file)
    free = FREE_ON_RESUME
    if not depends_on_length(config):  # the run may be made longer
        free = free | {"num_train_epochs", "max_training_steps"}
    differing = [
        f"{name} = {now[name]!r} (it was {then.get(name)!r})"
        for name in now
        if name not in free and now[name] != then.get(name)
    ]
    if differing:
        raise ConfigError(
            f"resume = 'auto' cannot continue the run in {file.parent}: other settings, {'; '.join(differing)}. "
            "Set them back, choose another model_name, or set resume = 'never' to start again."
        )
