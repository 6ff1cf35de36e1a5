"""The rate of every update: by hand, and against transformers' for every schedule that it has."""

import math
import warnings

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from easydel.trainers.config import DPOConfig
from easydel.trainers.intervals import resolve_intervals
from easydel.trainers.optimizer import make_optimizer, schedule_of
from easydel.trainers.schedule import ScheduleShape, make_schedule
from trainers.test_optimizer import each_a_tensor

pytestmark = pytest.mark.quick


def rates(scheduler, count, *, total_steps=8, **options):
    schedule = make_schedule(scheduler, learning_rate=2.0, shape=ScheduleShape(total_steps, **options))
    return [round(float(schedule(jnp.int32(step))), 5) for step in range(count)]


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (rates("none", 4), [2.0] * 4),
        (rates("none", 4, warmup_steps=2), [0.0, 1.0, 2.0, 2.0]),
        (rates("constant_with_warmup", 4, warmup_steps=2), [0.0, 1.0, 2.0, 2.0]),
        (rates("linear", 5, total_steps=4), [2.0, 1.5, 1.0, 0.5, 0.0]),
        (rates("linear", 6, total_steps=4, end=0.5), [2.0, 1.75, 1.5, 1.25, 1.0, 1.0]),
        (rates("linear", 6, warmup_steps=4, total_steps=6), [0.0, 0.5, 1.0, 1.5, 2.0, 1.0]),
        # 1 + cos(0), cos(pi/4), cos(pi/2), ...
        (rates("cosine", 5, total_steps=4), [2.0, 1.70711, 1.0, 0.29289, 0.0]),
        (rates("cosine", 5, total_steps=4, end=0.5), [2.0, 1.85355, 1.5, 1.14645, 1.0]),
        # One whole wave: down to 0 in the middle, and up again.
        (rates("cosine", 5, total_steps=4, num_cycles=1), [2.0, 1.0, 0.0, 1.0, 2.0]),
        # A warm-up longer than the run: the rate rises to the end.
        (rates("cosine", 3, warmup_steps=4, total_steps=3), [0.0, 0.5, 1.0]),
        # Two falls of three steps each: 1 + cos(0), cos(pi/3), cos(2 pi/3).
        (rates("cosine_with_restarts", 7, total_steps=6, num_cycles=2), [2.0, 1.5, 0.5, 2.0, 1.5, 0.5, 0.0]),
        (rates("polynomial", 5, total_steps=4, power=2.0), [2.0, 1.125, 0.5, 0.125, 0.0]),
        (rates("polynomial", 3, total_steps=2, power=2.0, end=0.5), [2.0, 1.25, 1.0]),
        # sqrt(4 / (4 + 0)), sqrt(4 / 5), ...: the time scale is the warm-up, or what was given, or 10,000 steps.
        (rates("inverse_sqrt", 9, warmup_steps=4)[3:], [1.5, 2.0, 1.78885, 1.63299, 1.51186, 1.41421]),
        (rates("inverse_sqrt", 4, timescale=1.0), [2.0, 1.41421, 1.1547, 1.0]),
        (rates("inverse_sqrt", 2), [2.0, 1.9999]),
        # The warm-up and the fall of this one are a step ahead.
        (rates("cosine_warmup_with_min_lr", 4, total_steps=4, warmup_steps=2), [1.0, 2.0, 1.0, 0.0]),
        (
            rates("cosine_warmup_with_min_lr", 4, total_steps=4, warmup_steps=2, warmup_lr_rate=0.25),
            [0.5, 2.0, 1.0, 0.0],
        ),
        (
            rates("warmup_stable_decay", 8, warmup_steps=2, stable_steps=3, decay_steps=2, decay_type="linear"),
            [0.0, 1.0, 2.0, 2.0, 2.0, 2.0, 1.0, 0.0],
        ),
        (
            rates("warmup_stable_decay", 4, warmup_steps=2, decay_steps=2, end=0.5, decay_type="1-sqrt"),
            [1.0, 1.5, 2.0, round(1 + (1 - math.sqrt(0.5)), 5)],
        ),
        (rates("warmup_stable_decay", 3, warmup_steps=3, warmup_type="1-sqrt"), [0.0, 0.36701, 0.8453]),
        (rates("warmup_stable_decay", 3, warmup_steps=3, warmup_type="cosine"), [0.0, 0.5, 1.5]),
    ],
)
def test_the_learning_rate_follows_its_schedule(found, expected):
    assert found == expected


def test_the_last_step_of_a_long_run_has_a_rate_of_its_own():
    """One millionth of the peak, and the sine of it squared: 1 - 999,999 / 1,000,000 in float32 is 1.01e-6."""
    last = jnp.int32(999_999)
    for name, share in (("linear", 1e-6), ("cosine", math.sin(math.pi / 2 * 1e-6) ** 2)):
        schedule = make_schedule(name, learning_rate=1.0, shape=ScheduleShape(1_000_000))
        assert float(schedule(last)) == pytest.approx(share, rel=1e-6)


def test_a_run_without_end_has_a_schedule():
    schedule = make_schedule("linear", learning_rate=1.0, shape=ScheduleShape(10**12))
    assert float(schedule(jnp.int32(100))) == pytest.approx(1.0)


STEPS = 20
OF_TRANSFORMERS = [
    ("constant", {}),
    ("constant_with_warmup", {}),
    ("linear", {}),
    ("cosine", {}),
    ("cosine", {"num_cycles": 1.25}),
    ("cosine_with_restarts", {}),
    ("cosine_with_restarts", {"num_cycles": 3}),
    ("cosine_with_min_lr", {"min_lr": 1e-7}),
    ("cosine_with_min_lr", {"min_lr_rate": 0.1, "num_cycles": 0.75}),
    ("cosine_warmup_with_min_lr", {"min_lr": 1e-7}),
    ("cosine_warmup_with_min_lr", {"min_lr_rate": 0.1, "warmup_lr_rate": 0.2}),
    ("polynomial", {}),
    ("polynomial", {"power": 2.5, "lr_end": 2e-8}),
    ("inverse_sqrt", {}),
    ("inverse_sqrt", {"timescale": 7}),
    *(
        ("warmup_stable_decay", {"num_decay_steps": 6, "warmup_type": shape, "decay_type": shape, "min_lr_ratio": end})
        for shape in ("linear", "cosine", "1-sqrt")
        for end in (0.0, 0.1)
    ),
    ("warmup_stable_decay", {"num_decay_steps": 4, "num_stable_steps": 5, "num_cycles": 0.4}),
]
WITHOUT_WARMUP = ("constant",)  # which is an error here, as it would be without effect


@pytest.mark.oracle
@pytest.mark.parametrize("warmup", [0, 1, 4, 0.1, 0.07])
@pytest.mark.parametrize(("name", "given"), OF_TRANSFORMERS)
def test_every_update_has_the_rate_of_transformers(name, given, warmup, tmp_path):
    import torch
    from transformers import TrainingArguments, get_scheduler

    if warmup and name in WITHOUT_WARMUP:
        return
    if not warmup:
        given = {key: value for key, value in given.items() if key not in ("warmup_type", "warmup_lr_rate")}
    config = DPOConfig(learning_rate=5e-7, lr_scheduler_type=name, lr_scheduler_kwargs=given, warmup_steps=warmup)
    schedule = schedule_of(config, resolve_intervals(config, STEPS, STEPS))
    theirs = TrainingArguments(output_dir=str(tmp_path), warmup_steps=warmup, report_to=[]).get_warmup_steps(STEPS)
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.ones(1))], lr=5e-7)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of num_stable_steps beside the length of the run
        torch_schedule = get_scheduler(name, optimizer, theirs, STEPS, given)
    for step in range(STEPS):
        expected = optimizer.param_groups[0]["lr"]
        assert float(schedule(jnp.int32(step))) == pytest.approx(expected, rel=2e-6, abs=1e-14), step
        optimizer.step()
        torch_schedule.step()


@pytest.mark.oracle
def test_five_updates_of_adamw_with_warm_up_are_those_of_torch_with_the_schedule_of_transformers():
    import torch
    from transformers import get_scheduler

    start = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    gradients = np.random.default_rng(1).standard_normal((5, 3, 4)).astype(np.float32)
    weight = torch.nn.Parameter(torch.tensor(start))
    theirs = torch.optim.AdamW([weight], lr=1e-3, weight_decay=0.0)
    steps = get_scheduler("linear", theirs, num_warmup_steps=2, num_training_steps=5)
    config = DPOConfig(learning_rate=1e-3, scheduler="linear", warmup_ratio=0.4)
    params = {"w": jnp.asarray(start)}
    schedule = schedule_of(config, resolve_intervals(config, 5, 5))
    ours = make_optimizer("adamw", schedule, tensors=each_a_tensor(params), weight_decay=0.0)
    state = ours.init(params)
    for step, gradient in enumerate(gradients):
        weight.grad = torch.tensor(gradient)
        theirs.step()
        steps.step()
        updates, state = ours.update({"w": jnp.asarray(gradient)}, state, params)
        params = optax.apply_updates(params, updates)
        np.testing.assert_allclose(params["w"], weight.detach().numpy(), rtol=1e-6, atol=1e-8)
        assert (step == 0) == bool(jnp.all(params["w"] == start))
