"""A training state to store, without a model."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from easydel.trainers.train_state import RewardMean, TrainState


def some_state(step: int = 3, *, seed: int = 0, width: int = 5) -> TrainState:
    """A state with both dtypes, moments, and a key; not a single value is round."""
    random = np.random.default_rng(seed)

    def values(*shape: int, dtype=jnp.float32):
        return jnp.asarray(random.standard_normal(shape), dtype)

    params = {"layers": {"query": {"kernel": values(2, 4, width)}}, "embedding": values(8, 4, dtype=jnp.bfloat16)}
    opt_state = jax.tree.map(lambda x: x + values(*x.shape).astype(x.dtype), optax.adam(1.0).init(params))
    rewards = RewardMean(values(), jnp.float32(24))
    return TrainState(jnp.int32(step), params, opt_state, jax.random.key(seed + 7), rewards)
