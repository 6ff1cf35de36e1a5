"""Losses of the margin: pairs worked out by hand, and the policies that their papers promise."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from easydel.losses.ratios import log_ratio_margin
from oracles.losses import (
    BETA,
    LENGTHS,
    POLICY,
    REFERENCE,
    REWARD,
    START,
    bound,
    bradley_terry,
    log_sigmoid,
    margin,
    pairs,
    train_tabular,
    two_answers,
)

pytestmark = pytest.mark.quick


def test_one_pair_worked_out_by_hand():
    # chosen gained 1, rejected lost 1.5: d = 2.5, and b d = 0.25 at b = 0.1
    one = pairs(POLICY[:1], REFERENCE[:1], LENGTHS[:1])
    assert float(log_ratio_margin(*one[:2])[0]) == 2.5
    assert float(bound("sigmoid", beta=0.1, label_smoothing=0.0)(*one)[0]) == pytest.approx(
        math.log(1 + math.exp(-0.25))
    )
    assert float(bound("hinge", beta=0.1)(*one)[0]) == pytest.approx(0.75)
    # per token: 1/2 - (-1.5)/3 = 1, and the target is 1 / (2 * 0.1) = 5
    assert float(bound("ipo", beta=0.1)(*one)[0]) == pytest.approx(16.0)


def test_swapping_chosen_and_rejected_negates_the_margin():
    d = log_ratio_margin(*pairs(POLICY, REFERENCE)[:2])
    swapped = log_ratio_margin(*pairs(POLICY[:, ::-1], REFERENCE[:, ::-1])[:2])
    np.testing.assert_array_equal(swapped, -d)


def test_without_smoothing_cdpo_and_robust_are_dpo():
    arguments = pairs(POLICY, REFERENCE)
    plain = -log_sigmoid(BETA * np.asarray(log_ratio_margin(*arguments[:2])))
    for name in ("sigmoid", "robust"):
        np.testing.assert_allclose(bound(name, label_smoothing=0.0)(*arguments), plain, rtol=1e-5)


def at_margin(name: str, scaled: float, e: float) -> jax.Array:
    """The loss of one pair whose b d is `scaled`."""
    policy = jnp.array([[scaled / BETA, 0.0]])
    return bound(name, label_smoothing=e)(policy, jnp.zeros((1, 2)), jnp.ones((1, 2), jnp.int32))[0]


@pytest.mark.parametrize("name", ["sigmoid", "exo_pair"])
@pytest.mark.parametrize("e", [0.05, 0.2, 0.4])
def test_smoothed_losses_are_smallest_where_the_policy_is_as_sure_as_the_labels(name, e):
    best = math.log((1 - e) / e)
    assert float(jax.grad(lambda x: at_margin(name, x, e))(best)) == pytest.approx(0, abs=1e-6)
    for off in (-0.5, 0.5):
        assert at_margin(name, best + off, e) > at_margin(name, best, e)


@pytest.mark.parametrize("e", [0.05, 0.2, 0.4])
def test_robust_averages_over_flipped_labels_to_the_loss_of_clean_ones(e):
    for scaled in (-3.0, -0.5, 0.0, 1.0, 4.0):
        noisy = (1 - e) * at_margin("robust", scaled, e) + e * at_margin("robust", -scaled, e)
        assert float(noisy) == pytest.approx(float(at_margin("sigmoid", scaled, 0.0)), rel=1e-5)


@pytest.mark.parametrize("beta", [0.5, 1.0])
def test_dpo_on_exact_labels_reaches_the_policy_that_maximises_reward_near_the_reference(beta):
    # Rafailov et al. 2023, eq. 4: pi is proportional to pi_ref exp(r / b)
    logp = train_tabular(bound("sigmoid", beta=beta, label_smoothing=0.0), bradley_terry())
    tilted = np.exp(START + REWARD / beta)
    np.testing.assert_allclose(np.exp(logp), tilted / tilted.sum(), atol=1e-3)


@pytest.mark.parametrize(("p", "beta"), [(0.7, 0.5), (0.95, 0.2), (0.5, 0.1)])
def test_ipo_moves_a_pair_as_far_as_its_labels_agree(p, beta):
    # Azar et al. 2023: the expected square is smallest at (2p - 1) / (2b), finite even for p = 1
    with jax.enable_x64(True):
        logp = train_tabular(bound("ipo", beta=beta), two_answers(p))
    assert margin(logp) == pytest.approx((2 * p - 1) / (2 * beta), abs=1e-3)


@pytest.mark.parametrize(("e", "beta"), [(0.1, 0.5), (0.3, 1.0)])
def test_cdpo_moves_a_pair_that_is_always_labeled_alike_to_a_finite_margin(e, beta):
    with jax.enable_x64(True):
        logp = train_tabular(bound("sigmoid", beta=beta, label_smoothing=e), two_answers(1.0))
    assert margin(logp) == pytest.approx(math.log((1 - e) / e) / beta, abs=1e-3)


def test_a_margin_is_taken_off_the_reward_margin():
    plain, asked = bound("sigmoid", label_smoothing=0.0), bound("sigmoid", label_smoothing=0.0, margin=0.7)
    moved = POLICY - [0.7 / BETA, 0.0]  # the chosen reward lowered by as much
    np.testing.assert_allclose(asked(*pairs(POLICY, REFERENCE)), plain(*pairs(moved, REFERENCE)), rtol=1e-5)


@pytest.mark.parametrize("p", [0.6, 0.9])
def test_a_soft_label_moves_a_pair_as_far_as_people_agree(p):
    loss = bound("sigmoid", beta=0.5, label_smoothing=0.0, preference=p)
    with jax.enable_x64(True):
        logp = train_tabular(loss, two_answers(1.0))
    assert margin(logp) == pytest.approx(math.log(p / (1 - p)) / 0.5, abs=1e-3)


def test_with_a_length_penalty_the_reward_of_a_completion_falls_with_its_tokens():
    # Park et al. 2024: on exact labels pi is proportional to pi_ref exp((r - a |y|) / b)
    tokens, penalty, beta = np.array([1, 9, 4, 2]), 0.05, 0.5
    loss = bound("sigmoid", beta=beta, label_smoothing=0.0, length_penalty=penalty)
    tilted = np.exp(START + (REWARD - penalty * tokens) / beta)
    logp = train_tabular(loss, bradley_terry(), tokens)
    np.testing.assert_allclose(np.exp(logp), tilted / tilted.sum(), atol=1e-3)


def test_dpop_is_dpo_as_long_as_the_chosen_completion_is_as_likely_as_under_the_reference():
    policy = np.maximum(POLICY, REFERENCE)
    dpo = bound("sigmoid", label_smoothing=0.0)(*pairs(policy, REFERENCE))
    np.testing.assert_allclose(bound("dpop")(*pairs(policy, REFERENCE)), dpo, rtol=1e-6)
    np.testing.assert_allclose(
        bound("dpop", dpop_lambda=0.0)(*pairs(POLICY, REFERENCE)),
        bound("sigmoid", label_smoothing=0.0)(*pairs(POLICY, REFERENCE)),
        rtol=1e-6,
    )
