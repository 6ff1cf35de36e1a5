"""Losses with scores: the policies that scores lead to, and what an offset asks for."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from oracles.losses import (
    ANSWERS,
    POLICY,
    REFERENCE,
    REWARD,
    START,
    bound,
    logistic,
    pairs,
    sigmoid,
    train_tabular,
)

pytestmark = pytest.mark.quick


ORDERED = np.array(list(itertools.permutations(range(ANSWERS), 2))).T


@pytest.mark.parametrize("name", ["rpo_sq", "rpo_bwd_kl", "rpo_fwd_kl"])
@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_scores_lead_to_the_policy_that_is_tilted_by_them(name, scale):
    # Sun et al. 2025: whichever distance is taken, pi is proportional to pi_ref exp(eta score / b)
    beta = 0.5
    always = np.ones((ANSWERS, ANSWERS))
    with jax.enable_x64(True):
        gap = jnp.asarray(REWARD[ORDERED[0]] - REWARD[ORDERED[1]])
        logp = train_tabular(bound(name, beta=beta, score_gap=gap, score_scale=scale), always)
    tilted = np.exp(START + scale * REWARD / beta)
    np.testing.assert_allclose(np.exp(logp), tilted / tilted.sum(), atol=1e-3)


def test_the_form_of_nemotron_is_dpo_with_soft_labels_less_their_entropy():
    gap = np.array([2.0, 0.5, -1.0, 0.01])
    soft = bound("sigmoid", label_smoothing=0.0, preference=jnp.asarray(sigmoid(gap)))(*pairs(POLICY, REFERENCE))
    entropy = logistic(gap, 1 - sigmoid(gap))
    found = bound("rpo_bwd_kl", score_gap=jnp.asarray(gap))(*pairs(POLICY, REFERENCE))
    np.testing.assert_allclose(found, soft - entropy, rtol=1e-5)


def test_an_offset_is_a_margin_that_grows_with_the_logarithm_of_the_gap():
    gap = np.array([np.e, 1.0, 0.5, 10.0])
    margin = jnp.asarray(0.7 * np.log(gap), jnp.float32)
    asked = bound("sigmoid", label_smoothing=0.0, margin=margin)(*pairs(POLICY, REFERENCE))
    found = bound("odpo", score_gap=jnp.asarray(gap), odpo_alpha=0.7)(*pairs(POLICY, REFERENCE))
    np.testing.assert_allclose(found, asked, rtol=1e-6)


@pytest.mark.parametrize("gap", [0.0, -2.0])
def test_a_pair_whose_scores_do_not_favor_the_chosen_completion_teaches_odpo_nothing(gap):
    value, gradient = jax.value_and_grad(
        lambda policy, *rest: jnp.sum(bound("odpo", score_gap=jnp.full(4, gap))(policy, *rest))
    )(*pairs(POLICY, REFERENCE))
    assert value == 0
    np.testing.assert_array_equal(gradient, 0)
