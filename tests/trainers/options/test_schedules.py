"""What a schedule may be told, and what is an error as it would be without effect."""

import pytest

from easydel.errors import ConfigError
from easydel.trainers.config import DPOConfig
from easydel.trainers.options.schedules import SCHEDULES, depends_on_length, end_of
from easydel.trainers.schedule import _AFTER

pytestmark = pytest.mark.quick


def test_every_schedule_that_has_settings_is_computed():
    assert set(SCHEDULES) == set(_AFTER)


@pytest.mark.oracle
def test_the_schedules_and_what_they_are_told_are_those_of_transformers():
    import inspect

    from transformers.optimization import TYPE_TO_SCHEDULER_FUNCTION

    ours = {"optimizer", "last_epoch", "num_warmup_steps", "num_training_steps"}
    theirs = {
        kind.value: set(inspect.signature(function).parameters) - ours
        for kind, function in TYPE_TO_SCHEDULER_FUNCTION.items()
        if kind.value not in ("reduce_lr_on_plateau", "greedy")
    }
    assert {name: set(keys) for name, keys in SCHEDULES.items() if name != "none"} == theirs


def test_a_schedule_is_named_as_in_transformers():
    config = DPOConfig(lr_scheduler_type="cosine", lr_scheduler_kwargs={"num_cycles": "0.75"})
    assert config == DPOConfig(scheduler="cosine", lr_scheduler_kwargs={"num_cycles": 0.75})
    assert DPOConfig.from_dict(config.to_dict()) == config
    assert DPOConfig(scheduler="cosine", lr_scheduler_type="cosine").scheduler == "cosine"


@pytest.mark.parametrize("given", ['{"num_cycles": 3}', "num_cycles=3", ["num_cycles=3"], {"num_cycles": 3.0}])
def test_what_a_schedule_is_told_may_be_json_pairs_or_a_dict(given):
    config = DPOConfig(scheduler="cosine_with_restarts", lr_scheduler_kwargs=given)
    assert config.lr_scheduler_kwargs == {"num_cycles": 3}


def test_nothing_told_is_none():
    for given in ({}, {"num_cycles": None}, None, "none"):
        assert DPOConfig(scheduler="cosine", lr_scheduler_kwargs=given).lr_scheduler_kwargs is None


@pytest.mark.parametrize(
    ("options", "end"),
    [
        ({"scheduler": "linear"}, 0.0),
        ({"scheduler": "cosine", "learning_rate_end": 1e-8}, 1e-8),
        ({"scheduler": "polynomial"}, 1e-7),
        ({"scheduler": "polynomial", "learning_rate_end": 0.0}, 0.0),
        ({"scheduler": "polynomial", "lr_scheduler_kwargs": {"lr_end": 2e-8}}, 2e-8),
        ({"scheduler": "cosine_with_min_lr", "lr_scheduler_kwargs": {"min_lr": 3e-8}}, 3e-8),
        ({"scheduler": "cosine_with_min_lr", "lr_scheduler_kwargs": {"min_lr_rate": 0.1}}, 1e-7),
        ({"scheduler": "cosine_warmup_with_min_lr", "learning_rate_end": 5e-8}, 5e-8),
        (
            {
                "scheduler": "warmup_stable_decay",
                "lr_scheduler_kwargs": {"num_decay_steps": 3, "min_lr_ratio": 0.5},
            },
            5e-7,
        ),
    ],
)
def test_a_schedule_ends_where_it_is_told_to(options, end):
    assert end_of(DPOConfig(learning_rate=1e-6, **options)) == pytest.approx(end)


def wsd(**given):
    return {"scheduler": "warmup_stable_decay", "lr_scheduler_kwargs": {"num_decay_steps": 3, **given}}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"learning_rate_end": 0.0}, "learning_rate_end = 0.0 has no effect with scheduler 'none'"),
        ({"scheduler": "inverse_sqrt", "learning_rate_end": 1e-8}, "has no effect with scheduler 'inverse_sqrt'"),
        (wsd() | {"learning_rate_end": 1e-8}, "min_lr_ratio in lr_scheduler_kwargs says where it ends"),
        ({"lr_scheduler_kwargs": {"power": 2}}, "scheduler 'none' has no key 'power': it has no keys"),
        (
            {"scheduler": "constant_with_warmup", "lr_scheduler_kwargs": {"num_cycles": 1}},
            "scheduler 'constant_with_warmup' has no key 'num_cycles': it has no keys. Schedules with this key: 'cos",
        ),
        ({"scheduler": "polynomial", "lr_scheduler_kwargs": {"powr": 2}}, "Did you mean 'power'?"),
        ({"scheduler": "polynomial", "lr_scheduler_kwargs": {"power": "two"}}, "power = 'two' must be a number above"),
        ({"scheduler": "polynomial", "lr_scheduler_kwargs": {"power": True}}, "power = True must be a number above 0"),
        (
            {"scheduler": "cosine_with_restarts", "lr_scheduler_kwargs": {"num_cycles": 1.5}},
            "must be an integer ab",
        ),
        (wsd(decay_type="sqrt"), "decay_type = 'sqrt' is not one of 'linear', 'cosine', '1-sqrt'"),
        (wsd(num_stable_steps=2.5), "num_stable_steps = 2.5 must be an integer number of steps, or a share"),
        (wsd(decay_type="linear", num_cycles=1), "num_cycles = 1 has no effect with decay_type = 'linear'"),
        (wsd(warmup_type="cosine"), "warmup_type has no effect without a warmup"),
        ({"scheduler": "warmup_stable_decay"}, "'warmup_stable_decay' needs the steps over which the rate falls"),
        ({"scheduler": "cosine_with_min_lr"}, "'cosine_with_min_lr' needs the rate at its end"),
        (
            {"scheduler": "cosine_with_min_lr", "lr_scheduler_kwargs": {"min_lr": 0, "min_lr_rate": 0.1}},
            "min_lr and min_lr_rate both say where the rate ends",
        ),
        (
            {"scheduler": "polynomial", "learning_rate_end": 0.0, "lr_scheduler_kwargs": {"lr_end": 1e-8}},
            "learning_rate_end = 0.0 and lr_end in lr_scheduler_kwargs both say",
        ),
        (
            {"scheduler": "polynomial", "learning_rate": 1e-7},
            "falls to 1e-07, the default of transformers, and learning_rate = 1e-07 is not above it",
        ),
        (
            {"scheduler": "cosine_with_min_lr", "learning_rate": 1e-7, "lr_scheduler_kwargs": {"min_lr": 1e-6}},
            "falls to 1e-06, and learning_rate = 1e-07 is not above it",
        ),
        ({"warmup_steps": 5, "warmup_ratio": 0.1}, "warmup_steps = 5 and warmup_ratio = 0.1 both say"),
        (
            {"scheduler": "constant", "warmup_ratio": 0.1},
            "warmup_ratio = 0.1 has no effect with scheduler 'constant', which in transformers has no warmup: use "
            "'constant_with_warmup'",
        ),
        ({"scheduler": "greedy"}, "scheduler = 'greedy' is not available: it changes the learning rate by what"),
        ({"lr_scheduler_type": "reduce_lr_on_plateau"}, "early_stopping_patience"),
        ({"scheduler": "wsd"}, "it is called 'warmup_stable_decay'"),
        ({"scheduler": "linear", "lr_scheduler_type": "cosine"}, "are two names of one option"),
        ({"scheduler": "cosine", "lr_scheduler_kwargs": "{num_cycles: 1}"}, "is not JSON"),
        ({"scheduler": "cosine", "lr_scheduler_kwargs": "num_cycles"}, "name=value pairs, such as num_cycles=3"),
    ],
)
def test_what_contradicts_or_would_be_ignored_is_an_error(options, message):
    with pytest.raises(ConfigError) as error:
        DPOConfig(**options)
    assert message in str(error.value)


def test_one_of_two_that_is_nothing_is_no_contradiction():
    assert DPOConfig(warmup_steps=0, warmup_ratio=0.1, scheduler="linear").warmup_ratio == 0.1
    assert DPOConfig(warmup_steps=5, warmup_ratio=0.0).warmup_steps == 5


@pytest.mark.parametrize(
    ("options", "depends"),
    [
        ({}, False),
        ({"scheduler": "constant_with_warmup", "warmup_steps": 5}, False),
        ({"scheduler": "constant_with_warmup", "warmup_steps": 0.1}, True),
        ({"warmup_ratio": 0.1}, True),
        ({"scheduler": "inverse_sqrt", "warmup_steps": 5}, False),
        ({"scheduler": "linear"}, True),
        (wsd(), True),
        (wsd(num_stable_steps=5), False),
        (wsd(num_stable_steps=0.5), True),
    ],
)
def test_a_run_may_be_made_longer_where_no_rate_depends_on_its_length(options, depends):
    assert depends_on_length(DPOConfig(**options)) == depends
