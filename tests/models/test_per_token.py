"""Functions of single tokens in chunks: the values and gradients of all slots at once, and nothing beyond the end."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from easydel.models.per_token import at_once, end_of_tokens, in_chunks

ROWS, LENGTH, WIDTH = 2, 11, 3


def function(weights, fixed, x):
    """A function of single tokens with everything in it: two inputs, a tree of values, something fixed."""
    left, right = x
    hidden = jnp.tanh(jnp.einsum("...e,ef->...f", left, weights["inner"]) * fixed[..., None])
    return {"sum": hidden + right, "product": jnp.einsum("...f,f->...", hidden * right, weights["outer"])}


def inputs(dtype=jnp.float32):
    keys = jax.random.split(jax.random.key(0), 5)
    draw = [jax.random.normal(key, (ROWS, LENGTH, WIDTH), dtype) for key in keys[:2]]
    weights = {"inner": jax.random.normal(keys[2], (WIDTH, WIDTH), dtype)}
    weights["outer"] = jax.random.normal(keys[3], (WIDTH,), dtype)
    return weights, jax.random.normal(keys[4], (ROWS, LENGTH), dtype), tuple(draw)


def value_and_gradients(per_token, weights, fixed, x, end):
    """Of a sum over the slots before the end, each with a weight of its own."""
    used = (jnp.arange(ROWS * LENGTH) < end).reshape(ROWS, LENGTH)

    def total(weights, x):
        out = per_token(function, weights, fixed, x)
        each = jnp.sum(out["sum"] ** 2, axis=-1) + jnp.sin(out["product"])
        return jnp.sum(jnp.where(used, each * jnp.arange(float(ROWS * LENGTH)).reshape(ROWS, LENGTH), 0.0))

    return jax.value_and_grad(total, argnums=(0, 1))(weights, x)


@pytest.mark.parametrize("chunk", [1, 4, 11, 22, 512])
@pytest.mark.parametrize("end", [0, 1, 9, 22])
def test_chunks_give_the_values_and_gradients_of_all_slots_at_once(chunk, end):
    weights, fixed, x = inputs()
    expected = value_and_gradients(at_once, weights, fixed, x, end)
    found = value_and_gradients(in_chunks(chunk, jnp.asarray(end)), weights, fixed, x, end)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), found, expected)


def test_slots_of_chunks_beyond_the_end_are_not_computed():
    weights, fixed, x = inputs()
    poisoned = jax.tree.map(lambda leaf: leaf.reshape(-1, WIDTH).at[12:].set(jnp.nan).reshape(leaf.shape), x)
    value, gradients = value_and_gradients(in_chunks(4, jnp.asarray(12)), weights, fixed, poisoned, 12)
    assert np.isfinite(value)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))


def test_the_gradient_of_bfloat16_weights_is_added_up_in_float32():
    weights, fixed, x = inputs(jnp.bfloat16)
    weights = jax.tree.map(lambda w: w * 0 + 1, weights)
    ones = jax.tree.map(jnp.ones_like, (fixed, x))

    def summed(weights):
        out = in_chunks(1, jnp.asarray(ROWS * LENGTH))(lambda w, _, x: w["outer"] * x[1], weights, *ones)
        return jnp.sum(out.astype(jnp.float32)) * 0.01171875

    # 22 times 0.0117 in bfloat16, one after another, ends at 0.2598; the sum rounded once is 0.2578.
    assert jax.grad(summed)(weights)["outer"].tolist() == [0.2578125] * WIDTH


def test_the_end_is_after_the_last_token_of_the_last_row_that_has_any():
    segment = jnp.array([[1, 1, 2, 0], [1, 0, 2, 0], [0, 0, 0, 0]])
    assert int(end_of_tokens(segment)) == 7
    assert int(end_of_tokens(jnp.zeros((2, 3), jnp.int32))) == 0


def test_frozen_weights_of_any_dtype_go_without_a_gradient():
    weights, fixed, x = inputs()
    quantized = jnp.arange(WIDTH, dtype=jnp.uint8)

    def quantized_function(weights, fixed, x):
        return function({"inner": weights["inner"], "outer": weights["quantized"].astype(jnp.float32)}, fixed, x)

    def total(inner, per_token):
        out = per_token(quantized_function, {"inner": inner, "quantized": quantized}, fixed, x)
        return jnp.sum(out["sum"]) + jnp.sum(out["product"])

    expected = jax.grad(total)(weights["inner"], at_once)
    found = jax.grad(total)(weights["inner"], in_chunks(5, jnp.asarray(ROWS * LENGTH)))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
