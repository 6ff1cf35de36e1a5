"""The schedules by the names of transformers, what each may be told, and the checks. No jax, for `--help`."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from easydel.errors import ConfigError, nearest

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
    "it moves the learning rate by what evaluations find, so that neither a continued nor a repeated run would have "
    "the same one; here the rate of every step is known before the first: take 'linear' or 'cosine', and "
    "early_stopping_patience to stop where nothing improves."
)
_OF_AXOLOTL = "it is axolotl's own, and the schedules here are those of transformers: take 'cosine' or 'linear'."
REFUSED: Mapping[str, str] = {
    "reduce_lr_on_plateau": _FOLLOWS,
    "greedy": _FOLLOWS,
    "wsd": "it is called 'warmup_stable_decay'.",
    **dict.fromkeys(("one_cycle", "log_sweep", "rex"), _OF_AXOLOTL),
}
"""Schedules of other programs that there are not here, with the reason."""

TO_AN_END = ("linear", "cosine", "cosine_with_min_lr", "cosine_warmup_with_min_lr", "polynomial")
"""Schedules that fall to `learning_rate_end`."""
WITHOUT_END = ("none", "constant", "constant_with_warmup", "inverse_sqrt")
"""Schedules that are the same whatever the length of the run."""
POLYNOMIAL_END = 1e-7  # what transformers falls to where no `lr_end` is given, whatever the learning rate
_SHAPES = ("linear", "cosine", "1-sqrt")
_ENDS = ("lr_end", "min_lr", "min_lr_rate", "min_lr_ratio")

# Key -> what it must be, in words and as a check of a number.
_NUMBERS: Mapping[str, tuple[str, Callable[[float], bool]]] = {
    "num_cycles": ("a number above 0", lambda value: value > 0),
    "power": ("a number above 0", lambda value: value > 0),
    "timescale": ("a number of steps above 0", lambda value: value > 0),
    "lr_end": ("a learning rate, at least 0", lambda value: value >= 0),
    "min_lr": ("a learning rate, at least 0", lambda value: value >= 0),
    "min_lr_rate": ("a share of learning_rate, from 0 to 1", lambda value: 0 <= value <= 1),
    "min_lr_ratio": ("a share of learning_rate, from 0 to 1", lambda value: 0 <= value <= 1),
    "warmup_lr_rate": ("a share of learning_rate, from 0 to 1", lambda value: 0 <= value <= 1),
    "num_decay_steps": ("a whole number of steps, or a share of the run below 1", lambda value: value > 0),
    "num_stable_steps": ("a whole number of steps, or a share of the run below 1", lambda value: value >= 0),
}
_OF_STEPS = ("num_decay_steps", "num_stable_steps")


def read_kwargs(scheduler: str, given: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Returns `lr_scheduler_kwargs` with its numbers read, None for none; a key whose value is None is left out.

    Raises:
        ConfigError: a key that the schedule does not have, or a value that it cannot have.
    """
    known, read = SCHEDULES[scheduler], {}
    for key, value in (given or {}).items():
        if value is None or value == "none":
            continue
        if key not in known:
            takers = [name for name, keys in SCHEDULES.items() if key in keys]
            those = f"its keys are {', '.join(known)}" if known else "it has none"
            hint = f" Of {' and '.join(map(repr, takers))} it is one." if takers else nearest(key, known)
            raise ConfigError(f"lr_scheduler_kwargs: {key!r} means nothing to scheduler {scheduler!r}: {those}.{hint}")
        read[key] = _read(scheduler, key, value)
    return read or None


def _read(scheduler: str, key: str, value: Any) -> Any:
    if key in ("warmup_type", "decay_type"):
        if value not in _SHAPES:
            raise ConfigError(f"lr_scheduler_kwargs: {key} = {value!r} is not one of {', '.join(map(repr, _SHAPES))}.")
        return value
    words, fits = _NUMBERS[key]
    whole = key == "num_cycles" and scheduler == "cosine_with_restarts"
    words = "a whole number above 0" if whole else words
    try:
        number = float("nan") if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = float("nan")
    is_split = not number.is_integer() and (whole or (key in _OF_STEPS and number > 1))
    if is_split or abs(number) == float("inf") or not fits(number):  # no comparison with nan is true
        raise ConfigError(f"lr_scheduler_kwargs: {key} = {value!r} must be {words}.")
    return int(number) if number.is_integer() else number


def check_schedule(config: "DPOConfig") -> None:
    """Raises ConfigError for settings of the schedule that contradict each other, or that are without effect."""
    name, given = config.scheduler, config.lr_scheduler_kwargs or {}
    _check_warmup(config)
    ends = [key for key in _ENDS if key in given]
    if config.learning_rate_end is not None:
        _check_end(config, ends)
    if len(ends) > 1:
        raise ConfigError(f"lr_scheduler_kwargs: {' and '.join(ends)} both say where the rate ends: drop one.")
    if name.endswith("with_min_lr") and not ends and config.learning_rate_end is None:
        raise ConfigError(
            f"scheduler {name!r} needs the rate that it falls to: set learning_rate_end, or min_lr or min_lr_rate in "
            "lr_scheduler_kwargs; 'cosine' falls to 0."
        )
    if (name == "polynomial" or given.get("min_lr")) and end_of(config) >= config.learning_rate:
        default = "" if ends or config.learning_rate_end is not None else ", where transformers ends it"
        raise ConfigError(
            f"scheduler {name!r} would fall to {end_of(config):g}{default}, and learning_rate = "
            f"{config.learning_rate:g} is not above it: say with learning_rate_end where it ends."
        )
    if name == "warmup_stable_decay":
        _check_stable_decay(given)


def _check_stable_decay(given: Mapping[str, Any]) -> None:
    if "num_decay_steps" not in given:
        raise ConfigError(
            "scheduler 'warmup_stable_decay' needs the steps in which the rate falls: set num_decay_steps in "
            "lr_scheduler_kwargs, a number of steps or a share of the run such as 0.1."
        )
    if "num_cycles" in given and given.get("decay_type", "cosine") != "cosine":
        raise ConfigError(
            f"lr_scheduler_kwargs: num_cycles = {given['num_cycles']} has no meaning with decay_type "
            f"{given['decay_type']!r}: drop it, or take 'cosine'."
        )


def _check_warmup(config: "DPOConfig") -> None:
    if config.warmup_steps and config.warmup_ratio:
        raise ConfigError(
            f"warmup_steps = {config.warmup_steps} and warmup_ratio = {config.warmup_ratio} both say how long the "
            "learning rate rises: drop one."
        )
    if config.warmup_steps or config.warmup_ratio:
        if config.scheduler == "constant":
            asked = "warmup_steps" if config.warmup_steps else "warmup_ratio"
            raise ConfigError(
                f"{asked} = {getattr(config, asked)} has no meaning for scheduler 'constant', which in transformers "
                f"has no warm-up: take 'constant_with_warmup', or drop {asked}."
            )
        return
    for key in ("warmup_type", "warmup_lr_rate"):
        if key in (config.lr_scheduler_kwargs or {}):
            raise ConfigError(
                f"lr_scheduler_kwargs: {key} has no meaning without a warm-up: set warmup_steps, or drop it."
            )


def _check_end(config: "DPOConfig", ends: list[str]) -> None:
    end, name = config.learning_rate_end, config.scheduler
    if name not in TO_AN_END:
        hint = " min_lr_ratio in lr_scheduler_kwargs says where it ends." if name == "warmup_stable_decay" else ""
        raise ConfigError(
            f"learning_rate_end = {end} has no meaning with scheduler {name!r}: take 'linear' or 'cosine', or drop it."
            f"{hint}"
        )
    if ends:
        raise ConfigError(
            f"learning_rate_end = {end} and {ends[0]} in lr_scheduler_kwargs both say where the rate ends: drop one."
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
