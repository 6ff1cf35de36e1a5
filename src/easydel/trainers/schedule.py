"""Learning-rate schedules by name."""

from typing import Any

import jax
import jax.numpy as jnp
import optax


def make_schedule(
    scheduler: str,
    *,
    learning_rate: float,
    learning_rate_end: float | None,
    warmup_steps: int,
    total_steps: int,
) -> optax.Schedule:
    """Returns the learning rate as a function of the number of updates done.

    It rises linearly from 0 over `warmup_steps` (the first update already moves the weights), then stays ("none",
    "constant") or falls to `learning_rate_end` at update `total_steps` along a line ("linear") or half a cosine.

    >>> rate = make_schedule("linear", learning_rate=1.0, learning_rate_end=None, warmup_steps=2, total_steps=6)
    >>> [round(float(rate(step)), 3) for step in range(7)]
    [0.5, 1.0, 1.0, 0.75, 0.5, 0.25, 0.0]
    """
    end = 0.0 if learning_rate_end is None else learning_rate_end
    fall = max(total_steps - warmup_steps, 1)

    def schedule(count: Any) -> jax.Array:
        warm = jnp.minimum((count + 1.0) / max(warmup_steps, 1), 1.0)
        done = jnp.clip((count - warmup_steps) / fall, 0.0, 1.0)
        if scheduler == "linear":
            after = learning_rate + (end - learning_rate) * done
        elif scheduler == "cosine":
            after = end + (learning_rate - end) * 0.5 * (1.0 + jnp.cos(jnp.pi * done))
        else:
            after = jnp.asarray(learning_rate)
        return jnp.where(count < warmup_steps, learning_rate * warm, after)

    return schedule
