"""Schedules by hand."""

import jax.numpy as jnp
import pytest

from easydel.trainers.schedule import make_schedule


def rates(scheduler, count, *, warmup_steps=0, total_steps=8, learning_rate_end=None):
    schedule = make_schedule(
        scheduler,
        learning_rate=2.0,
        learning_rate_end=learning_rate_end,
        warmup_steps=warmup_steps,
        total_steps=total_steps,
    )
    return [round(float(schedule(jnp.int32(step))), 5) for step in range(count)]


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (rates("none", 4), [2.0] * 4),
        (rates("constant", 4, warmup_steps=2), [1.0, 2.0, 2.0, 2.0]),
        (rates("linear", 5, total_steps=4), [2.0, 1.5, 1.0, 0.5, 0.0]),
        (rates("linear", 6, total_steps=4, learning_rate_end=1.0), [2.0, 1.75, 1.5, 1.25, 1.0, 1.0]),
        (rates("linear", 6, warmup_steps=4, total_steps=6), [0.5, 1.0, 1.5, 2.0, 2.0, 1.0]),
        # 1 + cos(0), cos(pi/4), cos(pi/2), ...
        (rates("cosine", 5, total_steps=4), [2.0, 1.70711, 1.0, 0.29289, 0.0]),
        (rates("cosine", 5, total_steps=4, learning_rate_end=1.0), [2.0, 1.85355, 1.5, 1.14645, 1.0]),
        # A warm-up longer than the run: the rate rises to the end.
        (rates("cosine", 3, warmup_steps=4, total_steps=3), [0.5, 1.0, 1.5]),
    ],
)
def test_the_learning_rate_follows_its_schedule(found, expected):
    assert found == expected
