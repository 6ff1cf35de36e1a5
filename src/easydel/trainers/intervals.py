"""When what happens in a run: shares and epochs become numbers of steps once, as soon as its length is known."""

import math
from collections.abc import Mapping
from typing import NamedTuple

from easydel.errors import ConfigError
from easydel.trainers.config import DPOConfig

INTERVALS: Mapping[str, str] = {
    "log_steps": "logged",
    "evaluation_steps": "evaluated",
    "generation_interval": "answered",
    "save_steps": "saved",
}
"""Options that say how often something is done, with what that is."""


class Intervals(NamedTuple):
    """The steps of a run in numbers."""

    total_steps: int
    warmup_steps: int
    stable_steps: int = 0  # of warmup_stable_decay, as the next
    decay_steps: int = 0
    log_steps: int | None = None
    evaluation_steps: int | None = None
    generation_interval: int | None = None
    save_steps: int | None = None


def resolve_intervals(config: DPOConfig, total_steps: int, per_epoch: int | None) -> Intervals:
    """Returns the numbers of steps that settings mean in a run of `total_steps`, as transformers would.

    A share is rounded up: of 25 steps, 0.1 is 3. An epoch has `per_epoch` steps, None where nobody knows.

    Raises:
        ConfigError: "epoch" where none has a length, or a schedule whose parts are longer than the run.
    """
    warmup = math.ceil(total_steps * config.warmup_ratio) if config.warmup_ratio else 0
    warmup = warmup or _steps(config.warmup_steps, total_steps)
    stable, decay = _phases(config, warmup, total_steps)
    every = {name: _every(config, name, total_steps, per_epoch) for name in INTERVALS}
    return Intervals(total_steps, warmup, stable, decay, **every)


def _steps(asked: float, total_steps: int) -> int:
    return math.ceil(total_steps * asked) if asked < 1 else int(asked)


def _every(config: DPOConfig, name: str, total_steps: int, per_epoch: int | None) -> int | None:
    asked = getattr(config, name)
    if asked is None:
        return None
    if asked != "epoch":
        return _steps(asked, total_steps)
    if per_epoch is None:
        raise ConfigError(
            f"{name} = 'epoch' needs rows with a length, and a stream has none: "
            "give a number of steps, or a share of max_training_steps such as 0.1."
        )
    return per_epoch


def _phases(config: DPOConfig, warmup: int, total_steps: int) -> tuple[int, int]:
    """Returns how long the rate of warmup_stable_decay stays, and falls."""
    given = config.lr_scheduler_kwargs or {}
    if "num_decay_steps" not in given:
        return 0, 0
    decay = _steps(given["num_decay_steps"], total_steps)
    if "num_stable_steps" in given:
        return _steps(given["num_stable_steps"], total_steps), decay
    if warmup + decay > total_steps:
        raise ConfigError(
            f"scheduler 'warmup_stable_decay' has {warmup} steps of warm-up and {decay} in which the rate falls, and "
            f"the run has {total_steps}: lower num_decay_steps (lr_scheduler_kwargs) or warmup_steps."
        )
    return total_steps - warmup - decay, decay


def describe_intervals(config: DPOConfig, intervals: Intervals) -> str:
    """Returns what shares and epochs of the settings mean in this run, "" where there are none."""
    meant = []
    share = config.warmup_ratio or (config.warmup_steps if config.warmup_steps < 1 else 0)
    if share:
        meant.append(f"the learning rate rises over {intervals.warmup_steps} ({share:g} of them)")
    for name, done in INTERVALS.items():
        asked, steps = getattr(config, name), getattr(intervals, name)
        if asked == "epoch":
            meant.append(f"{done} every {steps} (an epoch)")
        elif asked is not None and asked < 1:
            meant.append(f"{done} every {steps} ({asked:g} of them)")
    steps = f"{intervals.total_steps} step" + ("s" if intervals.total_steps > 1 else "")
    return f"Of {steps}: {', '.join(meant)}." if meant else ""
