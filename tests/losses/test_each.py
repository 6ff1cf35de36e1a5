"""Losses that judge each completion by itself: what is the zero that they compare with."""

import jax
import numpy as np
import pytest

from oracles.losses import BETA, POLICY, REFERENCE, bound, log_sigmoid, pairs

pytestmark = pytest.mark.quick


def test_bco_judges_both_rewards_against_the_mean_reward():
    shifted = bound("bco_pair", reward_shift=0.4)(*pairs(POLICY, REFERENCE))
    rewards = BETA * (POLICY - REFERENCE) - 0.4
    np.testing.assert_allclose(shifted, -log_sigmoid(rewards[:, 0]) - log_sigmoid(-rewards[:, 1]), rtol=1e-6)


def test_kto_has_no_gradient_through_its_estimate_of_the_divergence():
    policy, reference, lengths = pairs(POLICY, REFERENCE)
    gradient = jax.grad(lambda policy: bound("kto_pair")(policy, reference, lengths)[0])(policy)
    assert np.count_nonzero(gradient) == 2  # its own two answers and nobody else's
