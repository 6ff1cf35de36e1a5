"""Layers whose mixer is not attention: in packed rows each pair is what it is alone, forward and backward."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings

from easydel.errors import ConfigError
from easydel.models.causal_lm import CausalLM
from easydel.models.config import ModelConfig
from easydel.models.decoder import COMPILER_OPTIONS
from easydel.models.mixers import MIXERS
from easydel.sharding import make_mesh
from oracles.cases import CASES, SMALL
from oracles.folders import write_model
from oracles.layouts import packed_rows
from oracles.loaded import load
from oracles.tiny import ONE_DEVICE

LENGTH, LONGEST, MOST = 64, 20, 16
IDS = np.random.default_rng(0).integers(2, SMALL["vocab_size"], LENGTH).astype(np.int32)
PULL = np.random.default_rng(1).standard_normal((LENGTH, SMALL["hidden_size"])).astype(np.float32)
# A case for each mixer, and what its layers are called: one of them, and one with attention, compile in less time.
HYBRIDS = {"conv": ("lfm2-biases", "conv"), "delta": ("qwen3-5", "linear_attention")}


def source_of(mixer):
    case, kind = HYBRIDS[mixer]
    return CASES[case] | {"num_hidden_layers": 2, "layer_types": [kind, "full_attention"]}


@cache
def programs(mixer):
    """Returns (model, packed rows -> hidden states and gradient, the same of sequences alone), compiled once each."""
    config = ModelConfig.from_hf(source_of(mixer) | {"initializer_range": 0.3})
    model = CausalLM.from_config(config, mesh=make_mesh(ONE_DEVICE))

    def run(params, pull, *rows):
        def total(params):
            hidden, _ = model.decoder(params, *rows)
            return jnp.sum(hidden * pull), hidden

        (_, hidden), gradient = jax.value_and_grad(total, has_aux=True)(params)
        return hidden, gradient

    return model, jax.jit(run, compiler_options=COMPILER_OPTIONS)


def assert_close(found, expected):
    """To a small part of the largest number in an array: gradients here are sums of many that cancel.

    Weights of 0.3 make the rates of the delta rule differ by thousands, which the order of a sum then moves by 2e-4.
    """
    np.testing.assert_allclose(found, expected, rtol=0, atol=5e-4 * max(1.0, float(jnp.abs(expected).max())))


def test_every_mixer_has_a_case():
    assert set(HYBRIDS) == set(MIXERS)
    for mixer in HYBRIDS:
        assert ModelConfig.from_hf(source_of(mixer)).mixers == (mixer,)


@pytest.mark.parametrize("mixer", HYBRIDS)
@settings(deadline=None, max_examples=15, derandomize=True)
@given(row=packed_rows(LENGTH))
def test_a_packed_row_gives_each_sequence_what_it_has_alone(mixer, row):
    model, run = programs(mixer)
    real = (row.segment > 0)[:, None]
    together, gradient = run(
        model.params, (PULL * real)[None], IDS[None], row.segment[None], row.branch[None], row.position[None]
    )
    tokens, segment, position = np.zeros((3, MOST, LONGEST), np.int32)
    pull = np.zeros((MOST, LONGEST, PULL.shape[1]), np.float32)
    for number, places in enumerate(row.sequences):
        here = slice(0, len(places))
        tokens[number, here], segment[number, here], position[number, here] = IDS[places], 1, np.arange(len(places))
        pull[number, here] = PULL[places] * row.own(number)[:, None]
    alone, expected = run(model.params, pull, tokens, segment, 0 * segment, position)
    for number, places in enumerate(row.sequences):
        np.testing.assert_allclose(together[0, places], alone[number, : len(places)], rtol=3e-5, atol=1e-5)
    jax.tree.map(assert_close, gradient, expected)


@pytest.mark.parametrize("mixer", HYBRIDS)
def test_rows_that_are_split_along_their_length_are_refused(mixer):
    config = ModelConfig.from_hf(source_of(mixer))
    with pytest.raises(ConfigError, match=r"over 2 devices \(sp\).*all that comes before it: sp must be 1"):
        CausalLM.from_config(config, mesh=make_mesh((1, 1, 1, 1, 2)))


@pytest.mark.parametrize("mixer", HYBRIDS)
@pytest.mark.parametrize("dims", [(2, 2, 1, 2, 1)], ids=str)
def test_the_gradient_is_the_same_on_a_mesh(mixer, dims, tmp_path):
    folder = write_model(tmp_path, source_of(mixer))
    segment = np.repeat([1, 2, 0], [12, 7, 5])
    branch = np.repeat([0, 1, 2, 0, 1, 2, 0], [4, 3, 5, 3, 2, 2, 5])
    position = np.r_[0:4, 4:7, 4:9, 0:3, 3:5, 3:5, [0] * 5]
    rows = [np.stack([part] * 4).astype(np.int32) for part in (IDS[:24], segment, branch, position)]
    rows[0][1:] = rows[0][:3, ::-1]

    def results(model):
        def total(params):
            hidden, _ = model.decoder(params, *rows)
            return jnp.sum(jnp.where((rows[1] > 0)[..., None], hidden, 0.0) ** 3)

        return jax.jit(jax.value_and_grad(total), compiler_options=COMPILER_OPTIONS)(model.params)

    one, many = results(load(folder)), results(load(folder, sharding_axis_dims=dims))
    jax.tree.map(assert_close, one, many)
