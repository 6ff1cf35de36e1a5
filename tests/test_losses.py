"""Losses against numpy, against what their papers say they do, and against policies trained with them."""

import inspect
import itertools
import math
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from easydel.losses import (
    LOSSES,
    alpha_divergence,
    forward_kl,
    js_divergence,
    log_ratio_margin,
    mean_log_ratio_margin,
    reverse_kl,
)
from easydel.trainers.options.losses import TRAITS

pytestmark = pytest.mark.quick

POLICY = np.array([[-5.0, -9.0], [-12.0, -8.5], [-3.25, -3.0], [-40.0, -21.0]])
REFERENCE = np.array([[-6.0, -7.5], [-11.0, -9.0], [-3.0, -3.0], [-30.0, -24.0]])
LENGTHS = np.array([[2, 3], [5, 4], [1, 1], [9, 7]])
BETA, SMOOTHING = 0.3, 0.2


def log_sigmoid(x):
    return -np.log1p(np.exp(-x))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def logistic(x, e):
    return -(1 - e) * log_sigmoid(x) - e * log_sigmoid(-x)


def expected_exo(x, e):
    p = 1 / (1 + np.exp(-x))
    return p * np.log(p / (1 - e)) + (1 - p) * np.log((1 - p) / e)


def expected(name: str) -> np.ndarray:
    """The definitions of losses.md in float64, one line each."""
    b, e = BETA, SMOOTHING
    chosen, rejected = (POLICY - REFERENCE).T
    d = chosen - rejected
    per_token = chosen / LENGTHS[:, 0] - rejected / LENGTHS[:, 1]
    policy_margin, reference_margin = POLICY[:, 0] - POLICY[:, 1], REFERENCE[:, 0] - REFERENCE[:, 1]
    chosen_kl, rejected_kl = max(chosen.mean(), 0), max(rejected.mean(), 0)
    mean_chosen, mean_rejected = (POLICY / LENGTHS).T
    likelihood = -POLICY[:, 0] / LENGTHS[:, 0].mean()
    return {
        "sigmoid": logistic(b * d, e),
        "hinge": np.maximum(0, 1 - b * d),
        "ipo": (per_token - 1 / (2 * b)) ** 2,
        "robust": (-(1 - e) * log_sigmoid(b * d) + e * log_sigmoid(-b * d)) / (1 - 2 * e),
        "exo_pair": expected_exo(b * d, e),
        "nca_pair": -log_sigmoid(b * chosen) - 0.5 * log_sigmoid(-b * chosen) - 0.5 * log_sigmoid(-b * rejected),
        "sigmoid_norm": -log_sigmoid(b * per_token),
        "bco_pair": -log_sigmoid(b * chosen) - log_sigmoid(-b * rejected),
        "sppo_hard": (chosen - 0.5 / b) ** 2 + (rejected + 0.5 / b) ** 2,
        "apo_zero": 1 - sigmoid(b * chosen) + sigmoid(b * rejected),
        "apo_down": sigmoid(b * chosen) + 1 - sigmoid(b * d),
        "discopop": -log_sigmoid(b * d) * (1 - sigmoid(b * d / 0.05)) + np.exp(-b * d) * sigmoid(b * d / 0.05),
        "kto_pair": 0.5 * (2 - sigmoid(b * (chosen - rejected_kl)) - sigmoid(b * (chosen_kl - rejected))),
        "sft": likelihood,
        "simpo": -log_sigmoid(b * (mean_chosen - mean_rejected) - 0.5),
        "cpo": -log_sigmoid(b * policy_margin) + likelihood,
        "orpo": likelihood - b * log_sigmoid(np.log(odds(mean_chosen) / odds(mean_rejected))),
        "alphapo": -log_sigmoid(b * (power_reward(mean_chosen) - power_reward(mean_rejected)) - 0.5),
        "aot": expected_transport(policy_margin, reference_margin),
        "aot_unpaired": expected_transport(chosen, rejected),
        "aot_pair": expected_transport(chosen, rejected),
    }[name]


def odds(mean):
    return np.exp(mean) / (1 - np.exp(mean))


def power_reward(mean, alpha=0.25):
    return (1 - np.exp(mean) ** -alpha) / alpha


def expected_transport(upper, lower):
    """The k-th smallest of one side meets the k-th smallest of the other; the value belongs to the upper one's pair."""
    values = np.zeros(len(upper))
    for rank, pair in enumerate(sorted(range(len(upper)), key=lambda pair: upper[pair])):
        values[pair] = logistic(BETA * (upper[pair] - sorted(lower)[rank]), SMOOTHING)
    return values


def bound(name: str, **options) -> Callable:
    """The loss `(policy, reference, lengths) -> values` with those of the settings and facts that it asks for."""
    asked = inspect.signature(LOSSES[name]).parameters

    def loss(policy, reference, lengths):
        real = jnp.maximum(jnp.sum(lengths[:, 0] > 0), 1)
        given = {"beta": BETA, "label_smoothing": SMOOTHING, "full_policy": policy, **options}
        given["mean_chosen_length"] = jnp.sum(lengths[:, 0]) / real
        return LOSSES[name](policy, reference, lengths, **{key: given[key] for key in given if key in asked})

    return loss


def pairs(policy, reference, lengths=LENGTHS):
    return jnp.asarray(policy, jnp.float32), jnp.asarray(reference, jnp.float32), jnp.asarray(lengths)


@pytest.mark.parametrize("name", LOSSES)
def test_values_are_those_of_the_definition_in_float64(name):
    np.testing.assert_allclose(bound(name)(*pairs(POLICY, REFERENCE)), expected(name), rtol=2e-6)


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


@pytest.mark.parametrize("beta", [0.01, 0.1, 0.5, 2.0])
def test_equal_weights_give_the_known_value_of_the_first_step(beta):
    e = 0.1
    known = {
        "sigmoid": math.log(2),
        "hinge": 1.0,
        "ipo": 1 / (4 * beta**2),
        "robust": math.log(2),
        "exo_pair": -0.5 * (math.log(1 - e) + math.log(e)) - math.log(2),
        "nca_pair": 2 * math.log(2),
        "sigmoid_norm": math.log(2),
        "bco_pair": 2 * math.log(2),
        "sppo_hard": 0.5 / beta**2,
        "apo_zero": 1.0,
        "apo_down": 1.0,
        "discopop": 0.5 * math.log(2) + 0.5,
        "aot": math.log(2),
        "aot_unpaired": math.log(2),
        "aot_pair": math.log(2),
        "kto_pair": 0.5,
    }
    assert set(LOSSES) - set(known) == {"sft", "simpo", "cpo", "orpo", "alphapo"}  # which look at no reference
    for name in known:
        values = bound(name, beta=beta, label_smoothing=e)(*pairs(POLICY, POLICY))
        np.testing.assert_allclose(values, known[name], rtol=1e-6, err_msg=name)


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


@pytest.mark.parametrize("name", [name for name in LOSSES if TRAITS[name].across_pairs])
def test_the_order_of_the_pairs_does_not_matter_to_a_loss_across_them(name):
    values = np.asarray(bound(name)(*pairs(POLICY, REFERENCE)))
    for order in itertools.permutations(range(4)):
        at = list(order)
        moved = bound(name)(*pairs(POLICY[at], REFERENCE[at], LENGTHS[at]))
        np.testing.assert_allclose(moved, values[at], rtol=1e-6)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("places", [(0,), (2,), (4,), (0, 1, 3, 6)])
def test_padding_pairs_change_no_value_and_no_gradient_wherever_they_stand(name, places):
    total = 4 + len(places)
    real = np.array([at for at in range(total) if at not in places])

    def spread(values):
        filled = np.zeros((total, 2), values.dtype)
        filled[real] = values
        return filled

    def mean(policy, reference, lengths):
        values = bound(name)(policy, reference, lengths)
        return jnp.sum(jnp.where(lengths[:, 0] > 0, values, 0.0)) / 4, values

    differentiate = jax.value_and_grad(mean, has_aux=True)
    (plain, values), gradient = differentiate(*pairs(POLICY, REFERENCE))
    (filled, more), more_gradient = differentiate(*pairs(*map(spread, (POLICY, REFERENCE, LENGTHS))))
    assert float(filled) == pytest.approx(float(plain), rel=1e-6)
    np.testing.assert_allclose(more[real], values, rtol=1e-6)
    np.testing.assert_allclose(more_gradient[real], gradient, rtol=1e-6, atol=1e-9)
    np.testing.assert_array_equal(np.delete(more_gradient, real, axis=0), 0)
    assert np.isfinite(more).all()


@pytest.mark.parametrize("name", LOSSES)
def test_values_and_gradients_stay_finite_far_from_the_reference(name):
    far = 1e4 * np.array([[-1.0, -3.0], [-3.0, -1.0], [-1.0, -1.0], [0.0, -5.0]])
    value, gradient = jax.value_and_grad(lambda policy, *rest: jnp.sum(bound(name)(policy, *rest)))(
        *pairs(far, np.zeros((4, 2)))
    )
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()


ANSWERS = 4
REWARD = np.array([0.3, -0.4, 0.9, 0.0])
START = np.array([0.5, -0.2, 0.1, 0.4])  # logits of the reference over four one-token answers


def train_tabular(loss, preference) -> np.ndarray:
    """Returns the log-probabilities of a softmax over the answers that minimizes the expected loss of exact labels.

    `preference[i, j]` is how often answer i is preferred to answer j. Newton's method: the problem has four numbers.
    """
    winner, loser = np.array(list(itertools.permutations(range(ANSWERS), 2))).T
    often = jnp.asarray(preference[winner, loser])
    reference = jax.nn.log_softmax(jnp.asarray(START))
    lengths = jnp.ones((len(winner), 2), jnp.int32)

    def sides(logp):
        return jnp.stack([logp[winner], logp[loser]], axis=1)

    def objective(free):  # one logit is fixed, as softmax does not see a common shift
        logp = jax.nn.log_softmax(jnp.concatenate([free, jnp.zeros(1)]))
        return jnp.sum(often * loss(sides(logp), sides(reference), lengths))

    @jax.jit
    def newton(free):
        return free - jnp.linalg.solve(jax.hessian(objective)(free), jax.grad(objective)(free))

    free = jnp.asarray(START[:-1] - START[-1])
    for _ in range(30):
        free = newton(free)
    return np.asarray(jax.nn.log_softmax(jnp.concatenate([free, jnp.zeros(1)])))


def bradley_terry() -> np.ndarray:
    return 1 / (1 + np.exp(REWARD[None, :] - REWARD[:, None]))


@pytest.mark.parametrize("beta", [0.5, 1.0])
def test_dpo_on_exact_labels_reaches_the_policy_that_maximises_reward_near_the_reference(beta):
    # Rafailov et al. 2023, eq. 4: pi is proportional to pi_ref exp(r / b)
    logp = train_tabular(bound("sigmoid", beta=beta, label_smoothing=0.0), bradley_terry())
    tilted = np.exp(START + REWARD / beta)
    np.testing.assert_allclose(np.exp(logp), tilted / tilted.sum(), atol=1e-3)


def two_answers(p: float) -> np.ndarray:
    """Labels that only ever compare answers 0 and 1, and hardly anchor the others."""
    preference = np.full((ANSWERS, ANSWERS), 1e-9)
    preference[0, 1], preference[1, 0] = p, 1 - p
    return preference


def margin(logp: np.ndarray) -> float:
    """log(pi_0 / pi_1) - log(ref_0 / ref_1)"""
    return float(logp[0] - logp[1] - (START[0] - START[1]))


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


def test_a_margin_is_taken_off_the_reward_margin():
    plain, asked = bound("sigmoid", label_smoothing=0.0), bound("sigmoid", label_smoothing=0.0, margin=0.7)
    moved = POLICY - [0.7 / BETA, 0.0]  # the chosen reward lowered by as much
    np.testing.assert_allclose(asked(*pairs(POLICY, REFERENCE)), plain(*pairs(moved, REFERENCE)), rtol=1e-5)


def test_bco_judges_both_rewards_against_the_mean_reward():
    shifted = bound("bco_pair", reward_shift=0.4)(*pairs(POLICY, REFERENCE))
    rewards = BETA * (POLICY - REFERENCE) - 0.4
    np.testing.assert_allclose(shifted, -log_sigmoid(rewards[:, 0]) - log_sigmoid(-rewards[:, 1]), rtol=1e-6)


def test_kto_has_no_gradient_through_its_estimate_of_the_divergence():
    policy, reference, lengths = pairs(POLICY, REFERENCE)
    gradient = jax.grad(lambda policy: bound("kto_pair")(policy, reference, lengths)[0])(policy)
    assert np.count_nonzero(gradient) == 2  # its own two answers and nobody else's


def test_alphapo_without_its_power_is_simpo():
    arguments = pairs(POLICY, REFERENCE)
    near = bound("alphapo", alphapo_alpha=1e-5)(*arguments)
    np.testing.assert_allclose(bound("alphapo", alphapo_alpha=0.0)(*arguments), bound("simpo")(*arguments))
    np.testing.assert_allclose(near, bound("simpo")(*arguments), rtol=1e-3)
