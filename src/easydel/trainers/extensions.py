"""What Python users add to a run: functions that it calls, an optimizer, a schedule and metrics of their own."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import optax
from jaxtyping import Float, Int

from easydel.errors import ConfigError
from easydel.trainers.config import DPOConfig
from easydel.trainers.function_fingerprint import function_parts
from easydel.trainers.options.fields import listed
from easydel.trainers.options.optimizers import OptimizerOptions
from easydel.trainers.options.schedules import ScheduleOptions

Metrics = Mapping[str, float]


class PairValues(NamedTuple):
    """What an evaluation found of each pair of a set, in numpy, in the order of its batches."""

    # Numbers of the rows. (Hides tuple.index, which nobody needs on this.)
    index: Int[np.ndarray, "pairs"]  # pyright: ignore[reportIncompatibleMethodOverride]
    lengths: Int[np.ndarray, "pairs 2"]  # tokens of chosen and rejected that bear loss
    policy: Float[np.ndarray, "pairs 2"]  # log-probabilities, summed over these
    reference: Float[np.ndarray, "pairs 2"]  # the same of the reference; 0 where no loss looks at one
    rewards: Float[np.ndarray, "pairs 2"]  # beta (policy - reference)
    loss: Float[np.ndarray, "pairs"]


class Extensions(NamedTuple):
    """Functions of the user's, see `DPOTrainer`; None where there is none."""

    on_log: Callable[[int, Metrics], Any] | None = None
    on_evaluate: Callable[[int, Metrics], Any] | None = None
    on_save: Callable[[int, Path], Any] | None = None
    on_end: Callable[[Any], Any] | None = None
    optimizer: optax.GradientTransformation | None = None
    schedule: Callable[[Any], Any] | None = None
    compute_metrics: Callable[[PairValues], Metrics] | None = None


NOTHING = Extensions()
_OF_THE_RATE = ("learning_rate", *ScheduleOptions.__dataclass_fields__)
_OF_THE_OPTIMIZER = tuple(OptimizerOptions.__dataclass_fields__)


def check_extensions(config: DPOConfig, extensions: Extensions) -> None:
    """Raises ConfigError for what cannot be called as it is given, and for settings without effect beside it."""
    for name, value in extensions._asdict().items():
        if name != "optimizer" and value is not None and not callable(value):
            raise ConfigError(f"{name} = {value!r:.60} must be a function.")
    optimizer, schedule = extensions.optimizer, extensions.schedule
    if optimizer is not None and not isinstance(optimizer, optax.GradientTransformation):
        raise ConfigError(
            f"optimizer = {optimizer!r:.60} must be an optax transformation, such as optax.adamw(1e-6). One of ours is "
            "chosen by its name: DPOConfig(optimizer='lion')."
        )
    if schedule is not None and np.ndim(schedule(0)) != 0:
        raise ConfigError(f"schedule must return one learning rate for a number of updates, not {schedule(0)!r:.60}.")
    usual = DPOConfig()
    for given, names in (("optimizer", (*_OF_THE_OPTIMIZER, *_OF_THE_RATE)), ("schedule", _OF_THE_RATE)):
        for name in names if getattr(extensions, given) is not None else ():
            value = getattr(config, name)
            if value != getattr(usual, name):
                raise ConfigError(
                    f"{name} = {value!r} has no effect beside {given}=, which decides it: leave one of the two out."
                )


def facts_of_updates(extensions: Extensions) -> dict[str, str]:
    """Returns what decides the updates of a run, where it is the user's."""
    return _facts("own optimizer", extensions.optimizer) | _facts("own schedule", extensions.schedule)


def facts_of_metrics(extensions: Extensions) -> dict[str, str]:
    """Returns what decides the metrics of an evaluation, where it is the user's."""
    return _facts("compute_metrics", extensions.compute_metrics)


def computed_metrics(compute: Callable[[PairValues], Metrics], values: PairValues, known: Metrics) -> dict[str, float]:
    """Returns what a function of the user's measures besides what is `known`.

    Raises:
        ConfigError: it returned no mapping of names to numbers, or a name that is `known`.
    """
    found = compute(values)
    if not isinstance(found, Mapping):
        raise ConfigError(f"compute_metrics must return a mapping of names to numbers, not {type(found).__name__}.")
    if taken := [name for name in found if name in known]:
        raise ConfigError(f"compute_metrics returned {listed(taken)}, which is measured already: choose another name.")
    return {str(name): _number(name, value) for name, value in found.items()}


def _number(name: str, value: Any) -> float:
    if np.ndim(value) != 0 or np.asarray(value).dtype.kind not in "biuf":
        raise ConfigError(f"compute_metrics returned {value!r:.60} for {name!r}; it must be a number.")
    return float(value)


def _facts(name: str, function: Any) -> dict[str, str]:
    if function is None:
        return {name: "none"}
    parts = function_parts(function)._asdict()
    return {name: "given"} | {f"{name} {part}": said for part, said in parts.items()}
