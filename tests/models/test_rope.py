"""Rotary embedding: its identities, and its scalings; `test_decoder.py` has the logits of `transformers` with each."""

import jax.numpy as jnp
import numpy as np
import pytest

from easydel.models.kinds import Rope
from easydel.models.rope import rotary, rotate
from oracles.cases import CASES, TOKENS
from oracles.folders import write_model
from oracles.loaded import hidden_states, load


def test_dynamic_scaling_looks_at_its_own_segment_only(tmp_path):
    # The first segment alone is past max_position_embeddings (16); the second must not notice.
    model = load(write_model(tmp_path, CASES["llama-dynamic"]))
    ids = TOKENS.astype(np.int32)
    segment = np.where(np.arange(24) < 18, 1, 2) + 0 * ids
    position = np.r_[0:18, 0:6] + 0 * ids
    together = hidden_states(model.decoder, model.params, ids, segment, 0 * ids, position)
    np.testing.assert_allclose(
        model.decoder.logits(model.params, together)[0, 18:], model(ids[:, 18:]).logits[0], atol=1e-5
    )


def turned(rope: Rope, x: np.ndarray, positions: np.ndarray) -> np.ndarray:
    position = jnp.asarray(positions)[None]
    return np.asarray(rotate(jnp.asarray(x), *rotary(rope, position, jnp.ones_like(position))))


def test_products_of_turned_queries_and_keys_depend_on_how_far_apart_they_are_alone():
    """The property that RoFormer is made for (eq. 11), in float32."""
    query, key = np.random.default_rng(0).standard_normal((2, 1, 1, 2, 8)).astype(np.float32)
    products = [
        np.sum(turned(Rope(8), query, np.array([at + 3])) * turned(Rope(8), key, np.array([at])), axis=-1)
        for at in (0, 5, 90)
    ]
    np.testing.assert_allclose(products, [products[0]] * 3, atol=1e-5)
    assert not np.allclose(products[0], np.sum(query * key, axis=-1), atol=1e-2)


def test_turning_keeps_lengths_and_the_channels_past_dim():
    x = np.random.default_rng(1).standard_normal((1, 6, 2, 10)).astype(np.float32)
    out = turned(Rope(8), x, np.arange(6))
    np.testing.assert_allclose(np.linalg.norm(out, axis=-1), np.linalg.norm(x, axis=-1), rtol=1e-6)
    np.testing.assert_array_equal(out[..., 8:], x[..., 8:])
    np.testing.assert_allclose(out[:, 0], x[:, 0])


def test_position_interpolation_divides_positions():
    x = np.random.default_rng(2).standard_normal((1, 4, 1, 8)).astype(np.float32)
    scaled = turned(Rope(8, "linear", factor=4.0), x, np.arange(0, 16, 4))
    np.testing.assert_allclose(scaled, turned(Rope(8), x, np.arange(4)), atol=1e-6)


@pytest.mark.parametrize("kind", ["linear", "dynamic", "yarn", "llama3"])
def test_a_factor_of_one_scales_nothing(kind):
    x = np.random.default_rng(3).standard_normal((1, 20, 1, 16)).astype(np.float32)
    rope = Rope(16, kind, factor=1.0, original_max_position_embeddings=64)
    np.testing.assert_allclose(turned(rope, x, np.arange(20)), turned(Rope(16), x, np.arange(20)), atol=1e-6)
