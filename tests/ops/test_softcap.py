"""The soft cap: bounded, nearly the identity where small, and with the slope that jax finds."""

import jax
import jax.numpy as jnp
import numpy as np

from easydel.ops.softcap import soft_cap, times_slope

X = jnp.array([-300.0, -2.0, -0.01, 0.0, 0.01, 2.0, 300.0])


def test_a_cap_bounds_and_leaves_small_values():
    capped = soft_cap(X, 5.0)
    assert float(jnp.abs(capped).max()) <= 5.0
    np.testing.assert_allclose(capped[2:5], X[2:5], rtol=2e-6)
    np.testing.assert_array_equal(soft_cap(X, None), X)


def test_the_slope_is_that_of_automatic_differentiation():
    for bound in (5.0, None):
        capped, pullback = jax.vjp(lambda x, bound=bound: soft_cap(x, bound), X)
        np.testing.assert_allclose(times_slope(jnp.cos(X), capped, bound), pullback(jnp.cos(X))[0], atol=1e-6)
