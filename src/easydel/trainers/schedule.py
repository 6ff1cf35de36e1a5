"""Learning-rate schedules by the names and with the formulas of transformers: the rate of each update of a run."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

_MAX_STEPS = 2**31 - 1  # that an int32 counts
Share = Float[Array, ""]


class ScheduleShape(NamedTuple):
    """How the learning rate of a schedule goes, in shares of its peak and in updates."""

    total_steps: int
    warmup_steps: int = 0
    end: float = 0.0  # what it falls to
    num_cycles: float | None = None  # None is the schedule's own: half a wave, or one restart
    power: float = 1.0
    timescale: float | None = None
    warmup_lr_rate: float | None = None  # where a warm-up starts, which otherwise reaches the peak a step earlier
    stable_steps: int = 0
    decay_steps: int = 0
    warmup_type: str = "linear"
    decay_type: str = "cosine"


def make_schedule(scheduler: str, *, learning_rate: float, shape: ScheduleShape) -> optax.Schedule:
    """Returns the learning rate as a function of the number of updates done.

    It rises over `warmup_steps` from 0, so that the first update of a warm-up moves nothing, as in transformers.

    >>> rate = make_schedule("linear", learning_rate=1.0, shape=ScheduleShape(total_steps=6, warmup_steps=2))
    >>> [round(float(rate(step)), 3) for step in range(7)]
    [0.0, 0.5, 1.0, 0.75, 0.5, 0.25, 0.0]
    """
    shape = shape._replace(total_steps=min(shape.total_steps, _MAX_STEPS))
    warm, after = _WARM.get(scheduler, _warm), _AFTER[scheduler]

    def schedule(count: Any) -> jax.Array:
        count = jnp.asarray(count)
        done = jnp.maximum(count - shape.warmup_steps, 0)
        return learning_rate * jnp.where(count < shape.warmup_steps, warm(count, shape), after(done, shape))

    return schedule


# Differences are taken of integers, as 1 - done / fall would lose the last steps of a long run in float32.


def _left(done: Int[Array, ""], shape: ScheduleShape) -> Share:
    """The share of the fall that is still to come."""
    fall = max(shape.total_steps - shape.warmup_steps, 1)
    return jnp.maximum(fall - done, 0) / fall


def _warm(count: Int[Array, ""], shape: ScheduleShape) -> Share:
    return count / max(shape.warmup_steps, 1)


def _warm_ahead(count: Int[Array, ""], shape: ScheduleShape) -> Share:
    start = shape.warmup_lr_rate
    if start is None:
        return (count + 1) / max(shape.warmup_steps, 1)
    return start + (1.0 - start) * jnp.float32(count) / max(shape.warmup_steps - 1, 1)


def _warm_by_type(count: Int[Array, ""], shape: ScheduleShape) -> Share:
    done = _warm(count, shape)
    shapes = {"linear": done, "cosine": jnp.sin(jnp.pi / 2 * done) ** 2, "1-sqrt": done / (1 + jnp.sqrt(1 - done))}
    return _above(shapes[shape.warmup_type], shape)


def _above(share: Share, shape: ScheduleShape) -> Share:
    return shape.end + (1.0 - shape.end) * share


def _constant(done: Int[Array, ""], shape: ScheduleShape) -> Share:
    return jnp.ones(())


def _polynomial(done: Int[Array, ""], shape: ScheduleShape) -> Share:
    return _above(_left(done, shape) ** shape.power, shape)


def _wave(left: Share, num_cycles: float | None) -> Share:
    """A cosine of `num_cycles` waves, half a one by default, from 1; `left` falls from 1 to 0."""
    if num_cycles in (None, 0.5):
        return jnp.sin(jnp.pi / 2 * left) ** 2
    return jnp.cos(jnp.pi * num_cycles * (1.0 - left)) ** 2


def _cosine(done: Int[Array, ""], shape: ScheduleShape) -> Share:
    return _above(_wave(_left(done, shape), shape.num_cycles), shape)


def _cosine_ahead(done: Int[Array, ""], shape: ScheduleShape) -> Share:
    return _cosine(done + 1, shape)


def _restarts(done: Int[Array, ""], shape: ScheduleShape) -> Share:
    fall = max(shape.total_steps - shape.warmup_steps, 1)
    cycles = int(shape.num_cycles or 1)
    return jnp.where(done < fall, _wave((fall - done * cycles % fall) / fall, None), 0.0)


def _inverse_sqrt(done: Int[Array, ""], shape: ScheduleShape) -> Share:
    scale = shape.timescale or shape.warmup_steps or 10_000
    return jnp.sqrt(scale / (jnp.float32(done) + scale))


def _stable_decay(done: Int[Array, ""], shape: ScheduleShape) -> Share:
    fallen = jnp.clip(done - shape.stable_steps, 0, shape.decay_steps)
    left = (shape.decay_steps - fallen) / max(shape.decay_steps, 1)
    shapes = {"linear": left, "cosine": _wave(left, shape.num_cycles), "1-sqrt": left / (1 + jnp.sqrt(1 - left))}
    is_over = done >= shape.stable_steps + shape.decay_steps
    return jnp.where(is_over, shape.end, _above(shapes[shape.decay_type], shape))


_WARM: dict[str, Callable[[Any, ScheduleShape], Share]] = {
    "cosine_warmup_with_min_lr": _warm_ahead,
    "warmup_stable_decay": _warm_by_type,
}
_AFTER: dict[str, Callable[[Any, ScheduleShape], Share]] = {
    "none": _constant,
    "constant": _constant,
    "constant_with_warmup": _constant,
    "linear": _polynomial,
    "cosine": _cosine,
    "cosine_with_restarts": _restarts,
    "cosine_with_min_lr": _cosine,
    "cosine_warmup_with_min_lr": _cosine_ahead,
    "polynomial": _polynomial,
    "inverse_sqrt": _inverse_sqrt,
    "warmup_stable_decay": _stable_decay,
}
