"""The gated delta rule as a mixer: the forms of its matrices, and one token more as in the whole row."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from easydel.models import delta_net
from easydel.models.causal_lm import CausalLM
from easydel.models.config import ModelConfig
from easydel.models.packed_layout import packed_layout
from easydel.sharding import make_mesh
from oracles.cases import CASES
from oracles.tiny import ONE_DEVICE

CONFIG = ModelConfig.from_hf(CASES["qwen3-5"] | {"initializer_range": 0.3})
MESH = make_mesh(ONE_DEVICE)
X = jnp.asarray(np.random.default_rng(0).standard_normal((2, 12, CONFIG.hidden_size)), jnp.float32)


@pytest.fixture(scope="module")
def weights():
    params = CausalLM.from_config(CONFIG, mesh=MESH).params
    return jax.tree.map(lambda leaf: leaf[0], params["layers"]["delta"])


def mixed(weights, x):
    ones = jnp.ones(x.shape[:2], jnp.int32)
    layout = packed_layout(ones, 0 * ones, taps=CONFIG.taps, mesh=MESH, with_state=True)
    return delta_net.mix(CONFIG, weights, delta_net.before(CONFIG, weights, x), layout)


def test_a_token_more_is_what_it_is_in_the_whole_row(weights):
    whole, after = mixed(weights, X)
    _, state = mixed(weights, X[:, :11])
    more, found = delta_net.step(CONFIG, weights, delta_net.before(CONFIG, weights, X[:, 11:]), state)
    np.testing.assert_allclose(more[0][:, 0], whole[0][:, 11], atol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), found, after)


def test_a_gate_of_minus_infinity_closes_a_head(weights):
    (read, gate), _ = mixed(weights, X)
    closed = jnp.full_like(gate, -jnp.inf).at[:, :, 1:].set(gate[:, :, 1:])
    closed = jnp.where(jnp.isinf(closed), -1e4, closed)
    without = delta_net.behind(CONFIG, weights, (read.at[:, :, 0].set(1.0), closed))
    np.testing.assert_allclose(without, delta_net.behind(CONFIG, weights, (read, closed)), atol=1e-5)


def test_matrices_by_head_of_keys_hold_the_same_in_another_order(weights):
    """Two heads of keys, each with its query, its key, the values and the gates of two heads, and their rates."""
    apart, gate = delta_net.before(CONFIG, weights, X)
    sizes = delta_net.sizes_of(CONFIG)
    embed = CONFIG.hidden_size

    def of_keys(name):
        return weights[name]["kernel"].reshape(embed, sizes.key_heads, -1)

    wide = jnp.concatenate([of_keys(name) for name in ("query", "key", "value", "gate")], axis=-1)
    rates = jnp.concatenate([of_keys(name) for name in ("rate", "decay")], axis=-1)
    other, other_gate = delta_net.before(CONFIG, {"qkvz": {"kernel": wide}, "ba": {"kernel": rates}}, X)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), other, apart)
    np.testing.assert_allclose(other_gate, gate, atol=1e-5)


def test_a_model_without_this_mixer_has_no_sizes_of_it():
    with pytest.raises(ValueError, match="no layer of this mixer"):
        delta_net.sizes_of(ModelConfig.from_hf(CASES["llama"]))
