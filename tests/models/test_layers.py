"""The parts of a layer against their formulas, written out in numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from easydel.models.config import ACTIVATIONS
from easydel.models.layers import ACTIVATION_FUNCTIONS, activated, gated_mlp, linear, rms_norm

X = np.random.default_rng(0).standard_normal((2, 5, 6)).astype(np.float32)


def kernel(*shape: int) -> dict:
    return {"kernel": jnp.asarray(np.random.default_rng(len(shape)).standard_normal(shape), jnp.float32)}


def test_a_norm_divides_by_the_root_of_the_mean_square():
    weight = np.arange(1.0, 7.0, dtype=np.float32)
    expected = X / np.sqrt(np.mean(X**2, axis=-1, keepdims=True) + 1e-3) * weight
    np.testing.assert_allclose(rms_norm(jnp.asarray(X), jnp.asarray(weight), 1e-3), expected, rtol=1e-5)


def test_a_norm_over_all_heads_takes_the_mean_over_both_of_its_axes():
    x, weight = X.reshape(2, 5, 2, 3), np.ones((2, 3), np.float32)
    expected = x / np.sqrt(np.mean(x**2, axis=(-2, -1), keepdims=True) + 1e-6)
    np.testing.assert_allclose(rms_norm(jnp.asarray(x), jnp.asarray(weight), 1e-6), expected, rtol=1e-5)


def test_a_norm_of_bfloat16_is_computed_in_float32():
    x = jnp.asarray(X, jnp.bfloat16)
    expected = rms_norm(x.astype(jnp.float32), jnp.ones(6), 1e-6).astype(jnp.bfloat16)
    np.testing.assert_array_equal(rms_norm(x, jnp.ones(6), 1e-6), expected)


def test_a_linear_layer_adds_its_bias_in_the_dtype_of_its_input():
    weights = kernel(6, 3) | {"bias": jnp.arange(3.0)}
    expected = X @ np.asarray(weights["kernel"]) + np.arange(3.0)
    np.testing.assert_allclose(linear("...e,em->...m", jnp.asarray(X), weights), expected, rtol=1e-5, atol=1e-6)
    assert linear("...e,em->...m", jnp.asarray(X, jnp.bfloat16), weights).dtype == jnp.bfloat16


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation_of_a_configuration_has_its_function_and_gradient(name):
    gate, up = jnp.asarray(X), jnp.asarray(X[::-1])
    expected, pullback = jax.vjp(lambda g, u: ACTIVATION_FUNCTIONS[name](g) * u, gate, up)
    found, own = jax.vjp(lambda g, u: activated(g, u, name), gate, up)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    for mine, theirs in zip(own(gate), pullback(gate), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-6)


def test_the_mlp_is_swiglu():
    layer = {"gate": kernel(6, 4), "up": {"kernel": kernel(6, 4)["kernel"][::-1]}, "down": kernel(4, 6)}
    gate, up, down = (np.asarray(layer[name]["kernel"]) for name in ("gate", "up", "down"))
    expected = ((X @ gate) / (1 + np.exp(-(X @ gate))) * (X @ up)) @ down
    found = gated_mlp(jnp.asarray(X), layer, activation="silu")
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
