"""What holds for every loss: its value by the definition, at equal weights, among padding, far from the reference."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from easydel.losses import LOSSES
from easydel.trainers.options.losses import TRAITS
from oracles.losses import GAP, LENGTHS, POLICY, PREFERENCE, REFERENCE, bound, expected, kl, pairs, sigmoid

pytestmark = pytest.mark.quick


@pytest.mark.parametrize("name", LOSSES)
def test_values_are_those_of_the_definition_in_float64(name):
    np.testing.assert_allclose(bound(name)(*pairs(POLICY, REFERENCE)), expected(name), rtol=2e-6, atol=1e-7)


SMOOTHED = [name for name in LOSSES if "label_smoothing" in TRAITS[name].settings]


@pytest.mark.parametrize("name", SMOOTHED)
def test_a_soft_label_has_a_value_in_every_loss_that_label_smoothing_has_one_in(name):
    values = bound(name, preference=jnp.asarray(PREFERENCE))(*pairs(POLICY, REFERENCE))
    np.testing.assert_allclose(values, expected(name, PREFERENCE), rtol=2e-6, atol=1e-7)


@pytest.mark.parametrize("name", SMOOTHED)
def test_the_same_preference_for_all_pairs_without_smoothing_is_label_smoothing(name):
    values = [
        bound(name, label_smoothing=e, preference=p)(*pairs(POLICY, REFERENCE)) for e, p in ((0.2, 1.0), (0.0, 0.8))
    ]
    if name == "robust":  # which takes smoothing for noise, and a preference for what the pair is like
        assert np.all(values[0] != values[1])
    else:
        np.testing.assert_allclose(*values, rtol=1e-6)


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
        "dpop": math.log(2),
        "rpo_sq": GAP**2,
        "rpo_bwd_kl": kl(sigmoid(GAP), 0.5),
        "rpo_fwd_kl": kl(0.5, sigmoid(GAP)),
        "odpo": np.where(GAP > 0, np.log(1 + np.maximum(GAP, 0)), 0),  # -logsig(-log g)
        "aot": math.log(2),
        "aot_unpaired": math.log(2),
        "aot_pair": math.log(2),
        "kto_pair": 0.5,
    }
    assert set(LOSSES) - set(known) == {"sft", "simpo", "cpo", "orpo", "alphapo"}  # which look at no reference
    for name in known:
        values = bound(name, beta=beta, label_smoothing=e)(*pairs(POLICY, POLICY))
        np.testing.assert_allclose(values, known[name], rtol=1e-6, atol=1e-7, err_msg=name)


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
        filled = np.zeros((total, *values.shape[1:]), values.dtype)
        filled[real] = values
        return filled

    def mean(policy, reference, lengths):
        gap = GAP if len(policy) == 4 else spread(GAP)
        values = bound(name, score_gap=jnp.asarray(gap))(policy, reference, lengths)
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
