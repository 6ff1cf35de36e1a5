"""Shares and epochs as numbers of steps, by hand and as transformers has them."""

import pytest

from easydel.errors import ConfigError
from easydel.trainers.config import DPOConfig
from easydel.trainers.intervals import describe_intervals, resolve_intervals


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"warmup_steps": 5}, 5),
        ({"warmup_steps": 1.0}, 1),  # a step, where a ratio of 1 is the whole run
        ({"warmup_ratio": 1.0}, 25),
        ({"warmup_steps": 0.1}, 3),  # of 25 steps
        ({"warmup_ratio": 0.1}, 3),
        ({"warmup_ratio": 0.04}, 1),
        ({}, 0),
    ],
)
def test_a_warm_up_is_a_number_of_steps_or_a_share_rounded_up(options, expected):
    assert resolve_intervals(DPOConfig(**options), 25, 10).warmup_steps == expected


@pytest.mark.parametrize(
    ("asked", "expected"), [(7, 7), (0.1, 3), (0.5, 13), (0.01, 1), (0.99, 25), ("epoch", 10), (100, 100)]
)
def test_an_interval_is_a_number_of_steps_a_share_of_the_run_or_an_epoch(asked, expected):
    names = ("log_steps", "save_steps", "evaluation_steps", "generation_interval")
    pace = resolve_intervals(DPOConfig(generation_prompts=1, **dict.fromkeys(names, asked)), 25, 10)
    assert [getattr(pace, name) for name in names] == [expected] * 4


def test_what_is_not_asked_for_has_no_interval():
    pace = resolve_intervals(DPOConfig(), 25, None)
    assert (pace.log_steps, pace.save_steps, pace.evaluation_steps, pace.generation_interval) == (10, None, None, None)


@pytest.mark.oracle
@pytest.mark.parametrize("share", [0.001, 0.03, 0.07, 0.1, 0.25, 1 / 3, 0.5, 0.9999])
@pytest.mark.parametrize("total", [1, 3, 25, 100, 1719])
def test_a_share_is_as_many_steps_as_in_transformers(share, total, tmp_path):
    from transformers import TrainingArguments
    from transformers.trainer_callback import TrainerState

    there = TrainingArguments(
        output_dir=str(tmp_path), warmup_steps=share, save_steps=share, logging_steps=share, eval_steps=share
    )
    state = TrainerState()
    state.compute_steps(there, total)
    pace = resolve_intervals(
        DPOConfig(warmup_ratio=share, save_steps=share, log_steps=share, evaluation_steps=share), total, None
    )
    assert (pace.save_steps, pace.log_steps, pace.evaluation_steps) == (
        state.save_steps,
        state.logging_steps,
        state.eval_steps,
    )
    assert pace.warmup_steps == there.get_warmup_steps(total)


def test_an_epoch_of_a_stream_is_an_error_that_says_why():
    with pytest.raises(ConfigError, match="save_steps = 'epoch' needs rows with a length, and a stream has none"):
        resolve_intervals(DPOConfig(save_steps="epoch"), 25, None)
    assert resolve_intervals(DPOConfig(save_steps=0.2), 25, None).save_steps == 5


def wsd(**given):
    return DPOConfig(scheduler="warmup_stable_decay", lr_scheduler_kwargs=given, warmup_steps=0.1)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"num_decay_steps": 5}, (3, 17, 5)),
        ({"num_decay_steps": 0.1}, (3, 19, 3)),
        ({"num_decay_steps": 5, "num_stable_steps": 0.5}, (3, 13, 5)),
        ({"num_decay_steps": 22}, (3, 0, 22)),
    ],
)
def test_the_rate_stays_as_long_as_warm_up_and_fall_leave(given, expected):
    pace = resolve_intervals(wsd(**given), 25, 10)
    assert (pace.warmup_steps, pace.stable_steps, pace.decay_steps) == expected


def test_a_fall_that_is_longer_than_the_run_is_an_error():
    with pytest.raises(ConfigError, match="3 steps of warm-up and 23 in which the rate falls, and the run has 25"):
        resolve_intervals(wsd(num_decay_steps=23), 25, 10)


def test_what_shares_and_epochs_mean_in_a_run_is_said():
    config = DPOConfig(warmup_ratio=0.1, scheduler="linear", save_steps="epoch", log_steps=0.2)
    assert describe_intervals(config, resolve_intervals(config, 25, 10)) == (
        "Of 25 steps: the learning rate rises over 3 (0.1 of them), logged every 5 (0.2 of them), "
        "saved every 10 (an epoch)."
    )
    plain = DPOConfig(warmup_steps=5, save_steps=10)
    assert describe_intervals(plain, resolve_intervals(plain, 25, 10)) == ""
