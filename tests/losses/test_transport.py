"""Losses over sorted margins: two pairs worked out by hand."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

from oracles.losses import bound

pytestmark = pytest.mark.quick


def test_the_smallest_margin_of_the_policy_meets_the_smallest_of_the_reference_whichever_pair_it_is_of():
    # margins 1 and 3 of the policy, 2 and 0 of the reference: sorted, they differ by 1 and 1
    policy, reference = jnp.array([[1.0, 0.0], [3.0, 0.0]]), jnp.array([[2.0, 0.0], [0.0, 0.0]])
    values = bound("aot", beta=0.5, label_smoothing=0.0)(policy, reference, jnp.ones((2, 2), jnp.int32))
    np.testing.assert_allclose(values, math.log(1 + math.exp(-0.5)), rtol=1e-6)


def test_a_soft_label_stays_with_its_pair_when_the_margins_are_sorted():
    policy, reference = jnp.array([[3.0, 0.0], [1.0, 0.0]]), jnp.zeros((2, 2))
    soft = bound("aot", beta=1.0, label_smoothing=0.0, preference=jnp.array([0.25, 1.0]))
    values = soft(policy, reference, jnp.ones((2, 2), jnp.int32))
    down, up = (math.log(1 + math.exp(sign * 3.0)) for sign in (-1, 1))
    np.testing.assert_allclose(values, [0.25 * down + 0.75 * up, math.log(1 + math.exp(-1.0))], rtol=1e-6)
