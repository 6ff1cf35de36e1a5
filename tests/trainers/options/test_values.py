"""A value is checked against what `option` says of its field, and a string is read as the type of its field."""

import dataclasses
from pathlib import Path
from typing import Literal

import pytest

from easydel.errors import ConfigError
from easydel.trainers.config import DPOConfig
from easydel.trainers.options.fields import free_option, option
from easydel.trainers.options.values import check_fields


@dataclasses.dataclass(frozen=True, kw_only=True)
class Oven:
    degrees: int = option(180, "temperature", group="heat", at_least=0, at_most=300)
    mode: Literal["air", "grill"] = option("air", "how it heats")
    fan_speed: float | None = option(None, "turns per second (default: off)", needs={"mode": ("air",)}, above=0)
    timer: int | None = option(None, "minutes (default: no limit)", group="clock")
    bell: bool = free_option(False, "ring at the end", needs={"timer": 20})
    bell_volume: int = option(3, "how loud", needs={"bell": True})
    notes: list[str] | None = option(None, "what else (default: nothing)")

    def __post_init__(self) -> None:
        check_fields(self)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"degrees": 301}, "degrees = 301 must be at least 0 and at most 300."),
        ({"degrees": None}, "degrees = None is not allowed: the default is 180."),
        ({"degrees": 180.5}, "degrees = 180.5 must be an integer; this is float."),
        ({"degrees": "hot"}, "degrees = 'hot' must be an integer."),
        ({"bell": 1}, "bell = 1 must be true or false; this is int."),
        ({"timer": "soon"}, "timer = 'soon' must be an integer or none."),
        ({"mode": "gril"}, "mode = 'gril' is not one of 'air', 'grill'. Did you mean 'grill'?"),
        ({"notes": []}, "notes = [] is empty: give at least one value, or leave it out."),
        ({"bell": True}, "bell = True needs timer, such as timer = 20: set it, or leave bell out."),
        (
            {"bell_volume": 9, "timer": 5},
            "bell_volume = 9 needs bell = True: set it, or leave bell_volume out.",
        ),
        (
            {"fan_speed": 2, "mode": "grill"},
            "fan_speed = 2.0 has no effect with mode = 'grill': leave it out, or set mode to 'air'.",
        ),
    ],
)
def test_a_value_that_a_field_cannot_have_is_an_error_with_the_limit(values, message):
    with pytest.raises(ConfigError) as error:
        Oven(**values)
    assert str(error.value) == message


def test_an_option_whose_needs_are_met_is_accepted_and_so_is_a_default_whose_needs_are_not():
    assert Oven(timer=5, bell=True, bell_volume=1).bell_volume == 1
    assert Oven(fan_speed=2).fan_speed == 2.0
    assert Oven(mode="grill", bell_volume=3, fan_speed=None) == Oven(mode="grill")


def test_a_string_is_read_as_the_type_of_its_field():
    config = DPOConfig.from_dict(
        {
            "learning_rate": "5e-7",
            "max_length": "2048",
            "max_training_steps": "1e3",
            "use_wandb": "yes",
            "save_steps": "none",
            "beta": 1,
            "save_directory": Path("a") / "b",
        }
    )
    assert (config.learning_rate, config.max_length, config.max_training_steps) == (5e-7, 2048, 1000)
    assert config.use_wandb is True
    assert config.save_steps is None
    assert isinstance(config.beta, float)
    assert config.save_directory == str(Path("a/b"))


def test_large_integers_are_not_rounded():
    assert DPOConfig(seed=2**60 + 1).seed == 2**60 + 1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"beta": 0}, "beta = 0.0 must be above 0."),
        ({"beta": None}, "beta = None is not allowed: the default is 0.1."),
        ({"beta": "high"}, "beta = 'high' must be a finite number."),
        ({"beta": float("nan")}, "beta = nan must be a finite number"),
        ({"learning_rate": float("inf")}, "learning_rate = inf must be a finite number"),
        ({"seed": True}, "seed = True must be an integer; this is bool."),
        ({"seed": -1}, "seed = -1 must be at least 0."),
        (
            {"save_steps": "often"},
            "save_steps = 'often' must be a number of steps (an integer), a share of the run below 1, 'epoch' or none.",
        ),
        (
            {"log_steps": "often"},
            "log_steps = 'often' must be a number of steps (an integer), a share of the run below 1 or 'epoch'.",
        ),
        ({"save_steps": 1.5}, "save_steps = 1.5 must be a number of steps (an integer), a share of the run below 1."),
        (
            {"warmup_steps": "epoch"},
            "warmup_steps = 'epoch' must be a number of steps (an integer), a share of the run below 1.",
        ),
        ({"evaluation_steps": -0.1}, "evaluation_steps = -0.1 must be above 0."),
        ({"warmup_ratio": 1.5}, "warmup_ratio = 1.5 must be at least 0 and at most 1."),
        ({"use_wandb": 1}, "use_wandb = 1 must be true or false; this is int."),
        ({"model_name": 3}, "model_name = 3 must be a string"),
        ({"loss_type": "mine.losses:wpo"}, "A function cannot be read from a string: import it in Python and pass it"),
        ({"resume": "always"}, "is not one of 'never', 'auto'"),
    ],
)
def test_an_option_of_a_run_is_checked_alike(values, message):
    with pytest.raises(ConfigError) as error:
        DPOConfig(**values)
    assert message in str(error.value)
