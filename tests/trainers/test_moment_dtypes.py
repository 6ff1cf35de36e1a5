"""Moments kept in fewer bits: first ones to the nearest, second ones right on average."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from easydel.trainers.moment_dtypes import _at_random
from easydel.trainers.optimizer import make_optimizer
from easydel.weights.table import Tensor

RATE = 0.01


def each_a_tensor(params):
    """Returns that each array is a tensor of its own."""
    return {name: Tensor(f"{name}.{{layer}}", tuple((axis,) for axis in range(x.ndim))) for name, x in params.items()}


def make(name, params, *, rate=RATE, **options):
    return make_optimizer(name, lambda step: rate, tensors=each_a_tensor(params), **options)


def some(shape=(3, 4), seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("dtypes", [{"mu_dtype": "bfloat16"}, {"mu_dtype": "bfloat16", "nu_dtype": "bfloat16"}])
@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_moments_are_kept_in_the_dtypes_asked_for_and_the_rest_is_float32(name, dtypes):
    params = {"w": jnp.asarray(some((40, 36))), "norm": jnp.asarray(some((5,)))}
    optimizer = make(name, params, **dtypes)
    state = optimizer.init(params)
    updates, state = optimizer.update(params, state, params)
    kept = {"mu": "float32", "nu": "float32"} | {field[:2]: dtype for field, dtype in dtypes.items()}
    for path, leaf in jax.tree.leaves_with_path(state):
        field = next((field for field in kept if f".{field}" in jax.tree_util.keystr(path)), None)
        assert field is None or leaf.dtype == kept[field], jax.tree_util.keystr(path)
    assert {x.dtype for x in jax.tree.leaves(updates)} == {np.dtype(np.float32)}


def test_a_first_moment_in_bfloat16_is_rounded_to_the_nearest_after_each_update():
    w, gradients = some(), [some(seed=seed) for seed in range(1, 6)]
    optimizer = make("adamw", {"w": w}, mu_dtype="bfloat16")
    state, mu, nu = optimizer.init({"w": w}), 0.0, 0.0
    for t, g in enumerate(gradients, start=1):
        update, state = optimizer.update({"w": g}, state, {"w": w})
        mu, nu = 0.9 * mu + 0.1 * g, 0.999 * nu + 0.001 * g**2
        expected = -RATE * mu / (1 - 0.9**t) / (np.sqrt(nu / (1 - 0.999**t)) + 1e-8)
        np.testing.assert_allclose(update["w"], expected, rtol=1e-4)
        mu = mu.astype(jnp.bfloat16).astype(np.float32)
        np.testing.assert_allclose(optax.tree.get(state, "mu")["w"].astype(np.float32), mu, rtol=2**-7)


def test_a_second_moment_in_bfloat16_grows_though_its_steps_are_less_than_half_of_a_number():
    """A gradient of one all along: v = 1 - 0.999^t, where rounding to the nearest stops at about a quarter."""
    params = {"w": jnp.zeros(4096)}
    optimizer = make("adamw", params, nu_dtype="bfloat16")

    def step(_, state):
        return optimizer.update({"w": jnp.ones(4096)}, state, params)[1]

    state = jax.jit(lambda: jax.lax.fori_loop(0, 1500, step, optimizer.init(params)))()
    found = np.asarray(optax.tree.get(state, "nu")["w"], np.float32)
    expected = 1 - 0.999**1500
    assert found.mean() == pytest.approx(expected, rel=0.002)
    assert found.std() < 0.03 * expected
    again = jax.jit(lambda: jax.lax.fori_loop(0, 1500, step, optimizer.init(params)))()
    np.testing.assert_array_equal(optax.tree.get(again, "nu")["w"], optax.tree.get(state, "nu")["w"])


def test_a_second_moment_beyond_all_numbers_stays_infinite():
    found = _at_random(jnp.array([jnp.inf, 1.0, 0.0]), jax.random.key(0))
    np.testing.assert_array_equal(found.astype(jnp.float32), [np.inf, 1.0, 0.0])
