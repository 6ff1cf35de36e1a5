"""Learning rates that are hardly what was meant are worth a warning, and those that are, none."""

import warnings

import pytest

from easydel.trainers.config import DPOConfig
from easydel.trainers.pace import pace_of
from easydel.trainers.rate import warn_of_rate


def said(steps: int, **options) -> list[str]:
    config = DPOConfig(**options)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_of_rate(config, pace_of(config, steps, steps))
    return [str(warning.message) for warning in caught]


WSD = {"scheduler": "warmup_stable_decay"}


@pytest.mark.parametrize(
    ("steps", "options", "words"),
    [
        (3, {"warmup_steps": 50}, "warmup_steps = 50 is not over in a run of 3 steps"),
        (1, {"warmup_ratio": 0.1}, "the only step of the run begins the warm-up (warmup_ratio = 0.1)"),
        # 1e-7 of 5e-7
        (10, {"scheduler": "polynomial", "learning_rate": 5e-7}, "falls to 1e-07, as in transformers, which is 20% of"),
        # (1 + 999 / 10,000) ** -0.5
        (1000, {"scheduler": "inverse_sqrt"}, "the last of 1000 steps has 95% of learning_rate"),
        (
            20,
            WSD | {"lr_scheduler_kwargs": {"num_decay_steps": 5, "num_stable_steps": 10}},
            "has 0 + 10 + 5 steps (warm-up, num_stable_steps and num_decay_steps), and the run has 20: it ends with 5 "
            "steps at its lowest rate",
        ),
        (
            12,
            WSD | {"lr_scheduler_kwargs": {"num_decay_steps": 5, "num_stable_steps": 10}},
            "it ends before its fall is over",
        ),
    ],
)
def test_a_rate_that_is_hardly_meant_is_worth_a_warning(steps, options, words):
    [found] = said(steps, **options)
    assert words in found


@pytest.mark.parametrize(
    ("steps", "options"),
    [
        (1, {}),
        (1, {"scheduler": "cosine_warmup_with_min_lr", "learning_rate_end": 0.0, "warmup_steps": 1}),
        (50, {"warmup_steps": 5}),
        (10, {"scheduler": "polynomial", "learning_rate": 5e-5}),
        (10, {"scheduler": "polynomial", "learning_rate": 5e-7, "learning_rate_end": 1e-7}),
        (10, {"scheduler": "polynomial", "learning_rate": 5e-7, "lr_scheduler_kwargs": {"lr_end": 1e-7}}),
        (1000, {"scheduler": "inverse_sqrt", "warmup_steps": 10}),
        (20, WSD | {"lr_scheduler_kwargs": {"num_decay_steps": 0.2}}),
    ],
)
def test_a_rate_as_it_is_meant_is_not(steps, options):
    assert said(steps, **options) == []
