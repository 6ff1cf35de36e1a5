"""What a run minimizes: settings bound to losses, losses added up, pairs weighted."""

import inspect
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from easydel.data.pair import RowNumbers
from easydel.errors import ConfigError
from easydel.logprobs import CompletionLogprobs
from easydel.losses import DIVERGENCES, LOSSES
from easydel.trainers.config import DPOConfig
from easydel.trainers.objective import KEYWORDS, Facts, PairFacts, make_objective
from easydel.trainers.options.losses import SETTINGS, TRAITS, users_of

pytestmark = pytest.mark.quick

POLICY = jnp.array([[-5.0, -9.0], [-12.0, -8.5], [-3.25, -3.0]])
REFERENCE = jnp.array([[-6.0, -7.5], [-11.0, -9.0], [-3.0, -3.0]])
LENGTHS = jnp.array([[2, 3], [5, 4], [1, 1]])
COLLISION = jnp.array([[-1.0, -2.0], [-0.5, -3.0], [-0.25, -1.0]])


def out(policy=POLICY, full=None) -> CompletionLogprobs:
    nothing = jnp.zeros_like(policy)
    return CompletionLogprobs(policy, policy if full is None else full, nothing, nothing, nothing, COLLISION)


GAP = jnp.array([0.5, 2.0, -1.0])


def facts(**changes) -> PairFacts:
    plain = PairFacts(LENGTHS, jnp.ones(3), jnp.zeros(3), jnp.ones(3), GAP, mean_chosen_length=8 / 3, reward_shift=0.0)
    return plain._replace(**changes)


def value(settings: dict, **changes):
    return make_objective(DPOConfig(**settings))(out(), REFERENCE, facts(**changes))


def test_several_losses_add_up_with_their_weights():
    several = value({"loss_type": ["sigmoid", "bco_pair", "sft"], "loss_weights": [0.8, 0.2, 1.0]})
    alone = [value({"loss_type": name}) for name in ("sigmoid", "bco_pair", "sft")]
    np.testing.assert_allclose(several, 0.8 * alone[0] + 0.2 * alone[1] + alone[2], rtol=1e-6)
    without_weights = value({"loss_type": ["sigmoid", "sft"]})
    np.testing.assert_allclose(without_weights, alone[0] + alone[2], rtol=1e-6)


def test_rpo_adds_the_likelihood_of_the_chosen_completions():
    np.testing.assert_allclose(
        value({"rpo_alpha": 0.3}), value({"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, 0.3]}), rtol=1e-6
    )


def test_the_likelihood_counts_every_token_the_same_also_with_ld_alpha():
    objective = make_objective(DPOConfig(loss_type=["sft", "sigmoid"], loss_weights=[1.0, 0.0], ld_alpha=0.5))
    values = objective(out(full=2 * POLICY), REFERENCE, facts())
    assert float(jnp.mean(values)) == pytest.approx(-float(2 * POLICY[:, 0].sum()) / 8)


@pytest.mark.parametrize("name", [name for name in LOSSES if name != "exo_pair"])
def test_weighting_multiplies_every_loss_by_how_likely_the_policy_writes_the_pair(name):
    weights = np.exp(((np.asarray(POLICY) - np.asarray(COLLISION)) / np.asarray(LENGTHS)).sum(axis=1))
    plain, weighted = value({"loss_type": name}), value({"loss_type": name, "use_weighting": True})
    np.testing.assert_allclose(weighted, plain * weights, rtol=1e-5)


def test_the_weighting_itself_has_no_gradient():
    def total(policy, weighting):
        return make_objective(DPOConfig(loss_type="sft", use_weighting=weighting))(out(policy), REFERENCE, facts())[0]

    plain, weighted = (jax.grad(total)(POLICY, weighting) for weighting in (False, True))
    assert np.asarray(weighted != 0).tolist() == np.asarray(plain != 0).tolist()


def test_the_weight_of_a_pair_multiplies_its_loss_and_its_margin_reaches_the_sigmoid():
    weight, margin = jnp.array([0.0, 2.0, 0.5]), jnp.array([0.1, 0.0, 0.4])
    plain = value({}, margin=margin)
    np.testing.assert_allclose(value({}, weight=weight, margin=margin), weight * plain, rtol=1e-6)
    assert (plain != value({})).tolist() == [True, False, True]


def test_a_divergence_reaches_the_losses_that_have_one():
    settings = {"f_divergence_type": "alpha_divergence", "f_alpha_divergence_coef": 0.3}
    expected = LOSSES["hinge"](
        POLICY, REFERENCE, LENGTHS, beta=0.1, divergence=partial(DIVERGENCES["alpha_divergence"], alpha=0.3)
    )
    np.testing.assert_array_equal(value({"loss_type": "hinge", **settings}), expected)


def test_the_traits_of_a_loss_are_those_of_its_function():
    assert tuple(TRAITS) == tuple(LOSSES)
    asked = {name: set(inspect.signature(function).parameters) for name, function in LOSSES.items()}
    for setting in SETTINGS:
        assert users_of(setting) == [name for name in LOSSES if KEYWORDS.get(setting, setting) in asked[name]], setting
    for name, traits in TRAITS.items():
        assert set(traits.numbers) == asked[name] & set(RowNumbers._fields), name


@pytest.mark.parametrize("name", [name for name in LOSSES if name != "exo_pair"])
def test_a_loss_looks_at_the_reference_and_across_pairs_where_its_traits_say_so(name):
    objective = make_objective(DPOConfig(loss_type=name))
    there = objective(out(), REFERENCE, facts())
    assert TRAITS[name].needs_reference == bool(jnp.any(there != objective(out(), REFERENCE - 1.5 * POLICY, facts())))
    moved = objective(out(POLICY.at[1, 0].add(9.0)), REFERENCE, facts())
    alone = bool(jnp.all(moved[jnp.array([0, 2])] == there[jnp.array([0, 2])]))
    assert objective.across_pairs == (not alone)


def test_a_function_of_ones_own_gets_only_what_it_names():
    seen = {}

    def own(policy, reference, lengths, *, beta, mean_chosen_length, scale=3.0):
        seen.update(beta=beta, mean_chosen_length=mean_chosen_length, scale=scale)
        return policy[:, 0]

    value({"loss_type": own, "beta": 0.2})
    assert seen == {"beta": 0.2, "mean_chosen_length": 8 / 3, "scale": 3.0}
    assert value({"loss_type": lambda p, r, n: p[:, 1]}).shape == (3,)
    np.testing.assert_allclose(value({"loss_type": lambda p, r, n, beta=9.0: jnp.full(len(p), beta), "beta": 0.2}), 0.2)


@pytest.mark.parametrize("setting", [{"label_smoothing": 0.3}, {"bco_running_mean": True}, {"simpo_gamma": 2.0}])
def test_a_setting_that_neither_a_named_loss_nor_a_function_asks_for_is_refused(setting):
    def own(policy, reference, lengths, *, beta):
        return policy[:, 0]

    for loss in (own, ["hinge", own]):
        with pytest.raises(ConfigError, match=f"{next(iter(setting))} = .* has no effect: no loss of this run takes"):
            make_objective(DPOConfig(loss_type=loss, **setting))
    assert make_objective(DPOConfig(loss_type=["robust", own], label_smoothing=0.3))


def test_a_function_of_ones_own_may_stand_beside_named_losses():
    several = value({"loss_type": ["sigmoid", lambda p, r, n: p[:, 1]], "loss_weights": [1.0, 0.5]})
    np.testing.assert_allclose(several, value({}) + 0.5 * POLICY[:, 1], rtol=1e-6)


def test_an_unknown_keyword_that_a_function_requires_is_an_error_that_lists_the_known():
    def greedy(policy, reference, lengths, *, temperature):
        return policy[:, 0]

    for loss in (greedy, partial(greedy)):
        with pytest.raises(ConfigError, match=r"requires 'temperature'.* It may ask for: beta, label_smoothing"):
            make_objective(DPOConfig(loss_type=loss))
    assert value({"loss_type": partial(greedy, temperature=1.0)}).shape == (3,)


def test_a_function_that_does_not_take_what_every_loss_gets_is_refused():
    with pytest.raises(ConfigError, match=r"must take \(policy, reference, lengths\) first"):
        make_objective(DPOConfig(loss_type=lambda policy, reference: policy))


@pytest.mark.parametrize(
    "wrong", [lambda p, r, n: p, lambda p, r, n: p.mean(), lambda p, r, n: p[:, :1], lambda p, r, n: 1.0]
)
def test_a_function_that_does_not_return_one_value_per_pair_is_refused(wrong):
    with pytest.raises(ConfigError, match=r"must return one value per pair: for 5 pairs an array of shape \[5\], not"):
        make_objective(DPOConfig(loss_type=wrong))


def test_an_error_inside_a_function_of_ones_own_says_whose_it_is():
    def with_numpy(policy, reference, lengths):
        return np.asarray(policy)[:, 0]

    with pytest.raises(jax.errors.TracerArrayConversionError) as caught:
        make_objective(DPOConfig(loss_type=with_numpy))
    hint = "loss function 'with_numpy', which gets jax arrays: use jax.numpy"
    assert any(hint in note for note in caught.value.__notes__)


def test_of_a_function_of_ones_own_it_is_taken_that_it_looks_across_pairs_and_at_the_reference():
    config = DPOConfig(loss_type=lambda p, r, n: p[:, 0])
    assert make_objective(config).across_pairs
    assert config.needs_reference
    assert make_objective(DPOConfig(loss_type=["sigmoid", "aot"])).across_pairs
    assert not make_objective(DPOConfig(loss_type=["sigmoid", "sft"])).across_pairs


def test_every_fact_is_asked_for_by_some_loss():
    asked = {name for function in LOSSES.values() for name in inspect.signature(function).parameters}
    assert set(Facts._fields) <= asked


def test_several_losses_survive_the_way_through_yaml_and_text(tmp_path):
    config = DPOConfig(loss_type="sigmoid, bco_pair,sft", loss_weights="0.8,0.2,1")
    assert config.losses == [("sigmoid", 0.8), ("bco_pair", 0.2), ("sft", 1.0)]
    config.to_yaml(tmp_path / "run.yaml")
    assert DPOConfig.from_yaml(tmp_path / "run.yaml") == config
    assert DPOConfig(loss_weights=0.5).loss_weights == [0.5]
