"""Options of the learning rate's schedule: the names of transformers, the keys each has, and the checks."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from easydel.errors import ConfigError, nearest
from easydel.trainers.options.fields import option

if TYPE_CHECKING:
    from easydel.trainers.config import DPOConfig

# Schedule -> the keys of lr_scheduler_kwargs that its definition in transformers has.
SCHEDULES: Mapping[str, tuple[str, ...]] = {
    "none": (),
    "constant": (),
    "constant_with_warmup": (),
    "linear": (),
    "cosine": ("num_cycles",),
    "cosine_with_restarts": ("num_cycles",),
    "cosine_with_min_lr": ("min_lr", "min_lr_rate", "num_cycles"),
    "cosine_warmup_with_min_lr": ("min_lr", "min_lr_rate", "num_cycles", "warmup_lr_rate"),
    "polynomial": ("lr_end", "power"),
    "inverse_sqrt": ("timescale",),
    "warmup_stable_decay": (
        *("num_decay_steps", "num_stable_steps", "decay_type", "warmup_type", "min_lr_ratio", "num_cycles"),
    ),
}
_FOLLOWS = (
    "it changes the learning rate by what evaluations find, so that a resumed or repeated run would not have the same "
    "one; here the rate of every step is known before the first: use 'linear' or 'cosine', and early_stopping_patience "
    "to stop where nothing improves."
)
_OF_AXOLOTL = "it is axolotl's own, and the schedules here are those of transformers: use 'cosine' or 'linear'."
REFUSED: Mapping[str, str] = {
    "reduce_lr_on_plateau": _FOLLOWS,
    "greedy": _FOLLOWS,
    "wsd": "it is called 'warmup_stable_decay'.",
    **dict.fromkeys(("one_cycle", "log_sweep", "rex"), _OF_AXOLOTL),
}
"""Schedules of other programs that are not available, with the reason."""

TO_AN_END = ("linear", "cosine", "cosine_with_min_lr", "cosine_warmup_with_min_lr", "polynomial")
"""Schedules that fall to `learning_rate_end`."""
WITHOUT_END = ("none", "constant", "constant_with_warmup", "inverse_sqrt")
"""Schedules that are the same whatever the length of the run."""
POLYNOMIAL_END = 1e-7  # what transformers falls to where no `lr_end` is given, whatever the learning rate
_SHAPES = ("linear", "cosine", "1-sqrt")
_ENDS = ("lr_end", "min_lr", "min_lr_rate", "min_lr_ratio")

# Key -> what it must be, in words and as a check of a number.
_NUMBERS: Mapping[str, tuple[str, Callable[[float], bool]]] = {
    **dict.fromkeys(("num_cycles", "power"), ("a number above 0", lambda value: value > 0)),
    "timescale": ("a number of steps above 0", lambda value: value > 0),
    **dict.fromkeys(("lr_end", "min_lr"), ("a learning rate, at least 0", lambda value: value >= 0)),
    **dict.fromkeys(
        ("min_lr_rate", "min_lr_ratio", "warmup_lr_rate"),
        ("a share of learning_rate, from 0 to 1", lambda value: 0 <= value <= 1),
    ),
    "num_decay_steps": ("an integer number of steps, or a share of the run below 1", lambda value: value > 0),
    "num_stable_steps": ("an integer number of steps, or a share of the run below 1", lambda value: value >= 0),
}
_OF_STEPS = ("num_decay_steps", "num_stable_steps")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScheduleOptions:
    """How the learning rate rises and falls."""

    scheduler: str = option(
        "none",
        "learning rate after the warmup, by the names of transformers; none and constant_with_warmup: it stays; "
        "constant: it stays, without a warmup",
        group="schedule",
        common=True,
        choices=tuple(SCHEDULES),
        refused=REFUSED,
    )
    lr_scheduler_type: str | None = option(
        None,
        "the name that transformers has for scheduler (default: see scheduler)",
        choices=tuple(SCHEDULES),
        refused=REFUSED,
    )
    lr_scheduler_kwargs: dict[str, Any] | None = option(
        None,
        "keys of a schedule, by the names of transformers, such as num_cycles=3 for cosine_with_restarts, power=2 for "
        "polynomial or num_decay_steps=0.1, a share of the run, for warmup_stable_decay (default: those of "
        "transformers)",
        example="num_cycles=3",
    )
    learning_rate_end: float | None = option(
        None,
        "learning rate at the end of linear, cosine, cosine_with_min_lr, cosine_warmup_with_min_lr and polynomial "
        "(default: 0; of polynomial 1e-7; the two with_min_lr need it)",
        at_least=0,
    )
    warmup_steps: int | float = option(
        0,
        "steps, or a share of the run below 1, over which the learning rate rises, from 0 in the first step",
        share=True,
        at_least=0,
    )
    warmup_ratio: float | None = option(
        None,
        "share of the run over which the learning rate rises (default: see warmup_steps)",
        common=True,
        at_least=0,
        at_most=1,
    )


def read_schedule(config: ScheduleOptions) -> dict[str, Any]:
    """Returns the options of a schedule under one name each, with the numbers of `lr_scheduler_kwargs` read.

    Raises:
        ConfigError: two names of one schedule, a key that it does not have, or a value that a key cannot have.
    """
    scheduler, named = config.scheduler, config.lr_scheduler_type
    if named is not None and scheduler not in (ScheduleOptions.scheduler, named):
        raise ConfigError(
            f"scheduler = {scheduler!r} and lr_scheduler_type = {named!r} are two names of one option: leave one out."
        )
    scheduler = named or scheduler
    kwargs = read_kwargs(scheduler, config.lr_scheduler_kwargs)
    return {"scheduler": scheduler, "lr_scheduler_type": None, "lr_scheduler_kwargs": kwargs}


def read_kwargs(scheduler: str, given: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Returns `lr_scheduler_kwargs` with its numbers read, or None; a key whose value is None is left out.

    Raises:
        ConfigError: a key that the schedule does not have, or a value that it cannot have.
    """
    known, read = SCHEDULES[scheduler], {}
    for key, value in (given or {}).items():
        if value is None or value == "none":
            continue
        if key not in known:
            takers = [name for name, keys in SCHEDULES.items() if key in keys]
            keys = f"its keys are {', '.join(known)}" if known else "it has no keys"
            hint = f" Schedules with this key: {', '.join(map(repr, takers))}." if takers else nearest(key, known)
            raise ConfigError(f"lr_scheduler_kwargs: scheduler {scheduler!r} has no key {key!r}: {keys}.{hint}")
        read[key] = _read(scheduler, key, value)
    return read or None


def _read(scheduler: str, key: str, value: Any) -> Any:
    if key in ("warmup_type", "decay_type"):
        if value not in _SHAPES:
            raise ConfigError(f"lr_scheduler_kwargs: {key} = {value!r} is not one of {', '.join(map(repr, _SHAPES))}.")
        return value
    words, fits = _NUMBERS[key]
    whole = key == "num_cycles" and scheduler == "cosine_with_restarts"
    words = "an integer above 0" if whole else words
    try:
        number = float("nan") if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = float("nan")
    is_split = not number.is_integer() and (whole or (key in _OF_STEPS and number > 1))
    if is_split or abs(number) == float("inf") or not fits(number):  # no comparison with nan is true
        raise ConfigError(f"lr_scheduler_kwargs: {key} = {value!r} must be {words}.")
    return int(number) if number.is_integer() else number


def check_schedule(config: "DPOConfig") -> None:
    """Raises ConfigError for settings of the schedule that contradict each other, or that have no effect."""
    name, given = config.scheduler, config.lr_scheduler_kwargs or {}
    _check_warmup(config)
    ends = [key for key in _ENDS if key in given]
    if config.learning_rate_end is not None:
        _check_end(config, ends)
    if len(ends) > 1:
        raise ConfigError(f"lr_scheduler_kwargs: {' and '.join(ends)} both say where the rate ends: leave one out.")
    if name.endswith("with_min_lr") and not ends and config.learning_rate_end is None:
        raise ConfigError(
            f"scheduler {name!r} needs the rate at its end: set learning_rate_end, or min_lr or min_lr_rate in "
            "lr_scheduler_kwargs; 'cosine' falls to 0."
        )
    if (name == "polynomial" or given.get("min_lr")) and end_of(config) >= config.learning_rate:
        default = "" if ends or config.learning_rate_end is not None else ", the default of transformers"
        raise ConfigError(
            f"scheduler {name!r} falls to {end_of(config):g}{default}, and learning_rate = {config.learning_rate:g} "
            "is not above it: set learning_rate_end."
        )
    if name == "warmup_stable_decay":
        _check_stable_decay(given)


def _check_stable_decay(given: Mapping[str, Any]) -> None:
    if "num_decay_steps" not in given:
        raise ConfigError(
            "scheduler 'warmup_stable_decay' needs the steps over which the rate falls: set num_decay_steps in "
            "lr_scheduler_kwargs, a number of steps or a share of the run such as 0.1."
        )
    if "num_cycles" in given and given.get("decay_type", "cosine") != "cosine":
        raise ConfigError(
            f"lr_scheduler_kwargs: num_cycles = {given['num_cycles']} has no effect with decay_type = "
            f"{given['decay_type']!r}: leave it out, or set decay_type to 'cosine'."
        )


def _check_warmup(config: "DPOConfig") -> None:
    if config.warmup_steps and config.warmup_ratio:
        raise ConfigError(
            f"warmup_steps = {config.warmup_steps} and warmup_ratio = {config.warmup_ratio} both say how long the "
            "learning rate rises: leave one out."
        )
    if config.warmup_steps or config.warmup_ratio:
        if config.scheduler == "constant":
            asked = "warmup_steps" if config.warmup_steps else "warmup_ratio"
            raise ConfigError(
                f"{asked} = {getattr(config, asked)} has no effect with scheduler 'constant', which in transformers "
                f"has no warmup: use 'constant_with_warmup', or leave {asked} out."
            )
        return
    for key in ("warmup_type", "warmup_lr_rate"):
        if key in (config.lr_scheduler_kwargs or {}):
            raise ConfigError(
                f"lr_scheduler_kwargs: {key} has no effect without a warmup: set warmup_steps, or leave it out."
            )


def _check_end(config: "DPOConfig", ends: list[str]) -> None:
    end, name = config.learning_rate_end, config.scheduler
    if name not in TO_AN_END:
        hint = " min_lr_ratio in lr_scheduler_kwargs says where it ends." if name == "warmup_stable_decay" else ""
        raise ConfigError(
            f"learning_rate_end = {end} has no effect with scheduler {name!r}: use 'linear' or 'cosine', or leave it "
            f"out.{hint}"
        )
    if ends:
        raise ConfigError(
            f"learning_rate_end = {end} and {ends[0]} in lr_scheduler_kwargs both say where the rate ends: "
            "leave one out."
        )


def end_of(config: "DPOConfig") -> float:
    """Returns the learning rate that the schedule falls to."""
    given = config.lr_scheduler_kwargs or {}
    if config.learning_rate_end is not None:
        return config.learning_rate_end
    share = given.get("min_lr_rate", given.get("min_lr_ratio", 0.0))
    default = POLYNOMIAL_END if config.scheduler == "polynomial" else share * config.learning_rate
    return given.get("lr_end", given.get("min_lr", default))


def depends_on_length(config: "DPOConfig") -> bool:
    """Returns whether the rate of a step depends on how long the run is, so that it may not be made longer."""
    given = config.lr_scheduler_kwargs or {}
    if config.warmup_ratio or 0 < config.warmup_steps < 1:
        return True
    if config.scheduler == "warmup_stable_decay":
        return "num_stable_steps" not in given or any(0 < given[key] < 1 for key in _OF_STEPS)
    return config.scheduler not in WITHOUT_END
