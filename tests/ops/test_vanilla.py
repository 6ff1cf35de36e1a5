"""The mechanism with dropout: the share it drops, and where; `test_attention.py` has its values."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from easydel.ops.attention import packed_attention
from easydel.ops.vanilla import masked_softmax
from easydel.sharding import make_mesh
from oracles.tiny import ONE_DEVICE


def test_dropout_keeps_the_mean_and_drops_the_given_share():
    rng = np.random.default_rng(0)
    query, key, value = (jnp.asarray(rng.standard_normal((8, 64, heads, 8)), jnp.float32) for heads in (4, 2, 2))
    ones, place = jnp.ones((8, 64), jnp.int32), jnp.broadcast_to(jnp.arange(64), (8, 64))
    attention = packed_attention("vanilla", ones, 0 * ones, place, scale=1.0, mesh=make_mesh(ONE_DEVICE))
    # With equal scores and values of one, what comes out is the mean of the kept weights over their rate.
    out = attention(0 * query, key, 0 * value + 1, (jax.random.key(0), 0.25))[..., 0]
    assert float(out.mean()) == pytest.approx(1.0, abs=0.02)
    deviations = (out - 1) * jnp.sqrt(3 * (jnp.arange(64.0) + 1))[:, None]  # in units of that of a mean over the keys
    assert float(deviations.std()) == pytest.approx(1.0, rel=0.1)
    assert abs(float((deviations[0] * deviations[1]).mean())) < 0.2  # no two rows drop in the same places


def test_dropped_weights_are_left_out_of_the_mixture():
    query, key, value = (jnp.ones((1, 2, 1, 4)), jnp.ones((1, 2, 1, 4)), jnp.arange(8.0).reshape(1, 2, 1, 4))
    mask = jnp.ones((1, 2, 2), bool)

    def only_second(weights):
        assert weights.shape == (1, 1, 2, 2)
        return weights * jnp.array([0.0, 2.0])

    out = masked_softmax(query, key, value, mask, scale=1.0, score_cap=None, drop=only_second)
    np.testing.assert_allclose(out, jnp.broadcast_to(value[:, 1:], out.shape))
