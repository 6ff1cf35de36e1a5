"""Which trackers a run logs to."""

import importlib.util

import pytest

from easydel.errors import ConfigError
from easydel.trainers.config import DPOConfig
from easydel.trainers.options.trackers import TRACKERS


def test_a_tracker_is_named_by_report_to_or_by_use_wandb_and_comes_once():
    assert DPOConfig().trackers == ()
    assert DPOConfig(use_wandb=True).trackers == ("wandb",)
    assert DPOConfig(report_to="tensorboard,wandb,wandb", use_wandb=True).trackers == ("wandb", "tensorboard")


@pytest.mark.parametrize("name", TRACKERS)
def test_every_tracker_has_a_module(name):
    assert importlib.util.find_spec(f"easydel.trainers.record.tracker_{name}") is not None


@pytest.mark.parametrize("name", ["wandb_name", "wandb_entity"])
def test_an_option_of_wandb_needs_wandb(name):
    with pytest.raises(ConfigError, match=f"{name} = 'mine' needs report_to = 'wandb': set it, or leave {name} out"):
        DPOConfig(report_to=["tensorboard"], **{name: "mine"})
    assert getattr(DPOConfig(report_to=["wandb"], **{name: "mine"}), name) == "mine"
    assert getattr(DPOConfig(use_wandb=True, **{name: "mine"}), name) == "mine"
