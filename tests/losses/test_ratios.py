"""Log-ratios and divergences against numpy."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from easydel.losses.ratios import (
    alpha_divergence,
    forward_kl,
    js_divergence,
    log_ratio_margin,
    mean_log_ratio_margin,
    reverse_kl,
)
from oracles.losses import LENGTHS, POLICY, REFERENCE, log_sigmoid, pairs

pytestmark = pytest.mark.quick


DIVERGENCES = {
    "reverse_kl": (reverse_kl, lambda r: r),
    "forward_kl": (forward_kl, lambda r: 1 - np.exp(-r)),
    "js_divergence": (js_divergence, lambda r: np.log(2) + log_sigmoid(r)),
    "alpha_divergence": (partial(alpha_divergence, alpha=0.5), lambda r: (np.exp(-0.5 * r) - 1) / -0.5),
}


@pytest.mark.parametrize("name", DIVERGENCES)
def test_a_divergence_takes_the_place_of_the_log_ratios_of_both_sides(name):
    divergence, exact = DIVERGENCES[name]
    score = exact(POLICY - REFERENCE)
    policy, reference, lengths = pairs(POLICY, REFERENCE)
    found = log_ratio_margin(policy, reference, divergence)
    np.testing.assert_allclose(found, score[:, 0] - score[:, 1], rtol=1e-6)
    found = mean_log_ratio_margin(policy, reference, lengths, divergence)
    np.testing.assert_allclose(found, score[:, 0] / LENGTHS[:, 0] - score[:, 1] / LENGTHS[:, 1], rtol=1e-6)


@pytest.mark.parametrize("name", DIVERGENCES)
def test_where_policy_and_reference_agree_every_divergence_is_zero(name):
    assert float(DIVERGENCES[name][0](jnp.zeros(()))) == pytest.approx(0.0, abs=1e-7)


def test_the_alpha_divergence_comes_from_the_reverse_kl_at_1_and_is_the_forward_kl_at_0():
    ratio = jnp.linspace(-3.0, 3.0, 7)
    np.testing.assert_allclose(alpha_divergence(ratio, alpha=1.0), ratio)
    np.testing.assert_allclose(alpha_divergence(ratio, alpha=1.001), ratio, rtol=2e-3, atol=1e-3)
    np.testing.assert_allclose(alpha_divergence(ratio, alpha=0.0), forward_kl(ratio), rtol=1e-6)


def test_the_alpha_divergence_of_a_far_off_pair_is_finite():
    value, slope = jax.value_and_grad(partial(alpha_divergence, alpha=0.5))(-1e4)
    assert np.isfinite(value)
    assert np.isfinite(slope)
