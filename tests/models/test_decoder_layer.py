"""One layer: what stands on the residual stream, and that layers without a part leave that part out."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from easydel.models.causal_lm import CausalLM
from easydel.models.config import ModelConfig
from easydel.models.decoder_layer import DecoderLayer
from easydel.models.per_token import at_once
from easydel.models.rope import rotary
from easydel.sharding import make_mesh
from oracles.cases import CASES
from oracles.tiny import ONE_DEVICE

X = jnp.asarray(np.random.default_rng(0).standard_normal((1, 5, 32)), jnp.float32)


def layer_of(**changes):
    """Returns a function (x, attention) -> (x after the first layer, what attention kept)."""
    config = ModelConfig.from_hf(CASES["llama-gqa"])
    params = CausalLM.from_config(config, mesh=make_mesh(ONE_DEVICE)).params
    layer = DecoderLayer(dataclasses.replace(config, **changes), make_mesh(ONE_DEVICE), None)
    weights = jax.tree.map(lambda leaf: leaf[0], params["layers"])
    position = jnp.arange(5)[None]
    angles = (*rotary(config.ropes[0], position, jnp.ones_like(position)), None)

    def run(x, attention):
        found, (kept, _) = layer(x, weights, turned=angles, mix=attention, per_token=at_once, counts=None, dropout=None)
        return found, kept

    return run


def first_value(query, key, value, dropout):
    """Attention that mixes nothing: each head takes the value of its own position."""
    return jnp.repeat(value, query.shape[2] // value.shape[2], axis=2), (query.shape, key.shape)


def test_what_a_layer_adds_is_scaled_before_it_is_added():
    out, kept = layer_of(residual_scale=0.0)(X, first_value)
    np.testing.assert_array_equal(out, X)
    config = ModelConfig.from_hf(CASES["llama-gqa"])
    heads = config.num_attention_heads, config.num_key_value_heads
    assert kept == tuple((1, 5, number, config.head_dim) for number in heads)


def test_a_layer_whose_attention_looks_at_its_own_position_alone_treats_positions_alike():
    out, _ = layer_of()(X, first_value)
    swapped, _ = layer_of()(X[:, ::-1], first_value)
    np.testing.assert_allclose(swapped[:, ::-1], out, atol=1e-5)
    assert float(jnp.abs(out - X).max()) > 1e-4


def test_a_gate_lets_through_as_much_of_what_a_head_reads_as_its_sigmoid():
    config = ModelConfig.from_hf(CASES["qwen3-5"] | {"num_hidden_layers": 1, "layer_types": ["full_attention"]})
    params = CausalLM.from_config(config, mesh=make_mesh(ONE_DEVICE)).params
    weights = jax.tree.map(lambda leaf: leaf[0], params["layers"])
    layer, angles = (
        DecoderLayer(config, make_mesh(ONE_DEVICE), None),
        (*rotary(config.ropes[0], *jnp.ones((2, 1, 5), int)), None),
    )

    def added(gates):
        kernel = weights["query"]["kernel"].at[..., 1, :].set(0.0)  # gates of sigmoid(bias)
        bias = jnp.zeros(kernel.shape[1:]).at[:, 1].set(gates)
        query = {"kernel": kernel, "bias": bias}
        silent = {"kernel": jnp.zeros_like(weights["down"]["kernel"])}
        x, _ = layer(
            X,
            {**weights, "query": query, "down": silent},
            turned=angles,
            mix=first_value,
            per_token=at_once,
            counts=None,
            dropout=None,
        )
        return x - X

    np.testing.assert_allclose(added(0.0) * 2, added(30.0), atol=1e-6)
    assert float(jnp.abs(added(30.0)).max()) > 1e-4
    np.testing.assert_allclose(added(-30.0), 0.0, atol=1e-6)
