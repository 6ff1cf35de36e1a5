"""Whether the settings of a run are those of the run to be continued, which are in its `config.yaml`."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from easydel.errors import ConfigError
from easydel.trainers.config import MAY_CHANGE_ON_RESUME, DPOConfig
from easydel.trainers.options.fields import read_yaml
from easydel.trainers.record.files import read_json

FINGERPRINTS = "fingerprints.json"
"""The file of a run folder with what decides its numbers besides settings, and the settings that it was given."""
MEASURED = frozenset({"eval_batch_size", "max_evaluation_steps"})
"""Settings that decide which evaluation is the best, so that they may change on resume without `best_metric` only."""
_DEFAULTS = {field.name: field.default for field in dataclasses.fields(DPOConfig)}
OTHERWISE = "choose another model_name, or set resume = 'never' to start again."


def is_continued(config: DPOConfig) -> bool:
    """Returns whether the settings ask for an earlier run to be continued, and there is one."""
    return config.resume == "auto" and (config.run_folder / "config.yaml").exists()


def require_same_settings(config: DPOConfig, folder: Path) -> None:
    """Raises ConfigError where a setting that decides the numbers differs from that in `config.yaml` of a run.

    A setting that the file does not name has its default there: it is of a version without that setting.
    """
    recorded = read_json(folder / FINGERPRINTS)
    now, then = config.to_dict(), read_yaml(folder / "config.yaml")
    if (unknown := _unknown(then, recorded)) is not None:
        said, version = unknown
        raise ConfigError(
            f"resume = 'auto' cannot continue the run in {folder}: {said}. Continue with {version}, {OTHERWISE}"
        )
    free = MAY_CHANGE_ON_RESUME if config.best_metric is None else MAY_CHANGE_ON_RESUME - MEASURED
    by_name = "facts" not in recorded
    before = _meaning({**_DEFAULTS, **then}, by_name=by_name)
    differing = [
        f"{name} was {before[name]!r}, is {value!r} now"
        for name, value in _meaning(now, by_name=by_name).items()
        if name not in free
        and value != before[name]
        # Without a day of its own, a run that is continued takes the day it began with.
        and not (name == "chat_template_date" and value is None)
    ]
    if differing:
        raise ConfigError(
            f"resume = 'auto' cannot continue the run in {folder}: other settings, {'; '.join(differing)}. "
            f"Set them back, {OTHERWISE}"
        )
    if config.max_training_steps is not None:
        require_not_past(config, config.max_training_steps)


def _unknown(then: Mapping[str, Any], recorded: Mapping[str, Any]) -> tuple[str, str] | None:
    """Returns a setting that decided numbers and is unknown here, in words, and the version it is of."""
    name = next((name for name in recorded.get("options", ()) if name not in _DEFAULTS), None)
    if name is None:
        return None
    said = f"it was trained with {name} = {then.get(name)!r}, which this version of easydel-dpo does not have"
    return said, f"easydel-dpo {recorded['written_by']['easydel']}"


def known_settings(folder: Path) -> dict[str, Any]:
    """Returns the settings in the `config.yaml` of a run; of a newer version those that are known here.

    Raises:
        ConfigError: the file is damaged, or a setting that is unknown here decided the numbers of the run.
    """
    then = read_yaml(folder / "config.yaml")
    if (unknown := _unknown(then, read_json(folder / FINGERPRINTS))) is not None:
        said, version = unknown
        raise ConfigError(f"no model can be made of a checkpoint in {folder}: {said}. Take {version}.")
    return {name: value for name, value in then.items() if name in _DEFAULTS}


def steps_in(folder: Path) -> list[int]:
    """Returns the steps of the checkpoints in a folder of them, oldest first."""
    return sorted(int(path.name) for path in folder.glob("*") if path.name.isdecimal())


def require_not_past(config: DPOConfig, total_steps: int) -> None:
    """Raises ConfigError where the newest checkpoint of a run to be continued is of a later step than its last."""
    folder = config.run_folder
    newest = max(steps_in(folder / "checkpoints"), default=0) if is_continued(config) else 0
    if newest > total_steps:
        raise ConfigError(
            f"resume = 'auto' found a checkpoint of step {newest} in {folder}, past the {total_steps} steps "
            "that the run has now: raise max_training_steps or num_train_epochs, or set resume = 'never'."
        )


def _meaning(settings: Mapping[str, Any], *, by_name: bool) -> dict[str, Any]:
    """Returns settings with one spelling for what is the same: a loss alone or as a list, weights of 1.

    A function goes by its name only where its code is not known.
    """
    loss, weights = settings["loss_type"], settings["loss_weights"]
    names = [loss] if isinstance(loss, str) else loss
    losses = names if by_name else ["function" if ":" in name else name for name in names]
    rank, targets = settings["lora_rank"], settings["lora_target_modules"]
    return {
        **settings,
        "loss_type": losses if losses[1:] else losses[0],
        "loss_weights": None if weights is None or set(weights) == {1.0} else weights,
        "lora_alpha": 2.0 * rank if rank is not None and settings["lora_alpha"] is None else settings["lora_alpha"],
        "lora_target_modules": None if targets == "all-linear" else targets,
    }


def given_settings(config: DPOConfig) -> list[str]:
    """Returns the names of the settings that decide the numbers of a run and are not at their defaults."""
    values = {name: value for name, value in _DEFAULTS.items() if name not in MAY_CHANGE_ON_RESUME}
    return [name for name, value in values.items() if getattr(config, name) != value]
