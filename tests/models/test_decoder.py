"""The decoder against transformers, against itself in other layouts, and at other precisions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from easydel.models.causal_lm import CausalLM
from easydel.models.config import ModelConfig
from easydel.models.decoder import CHECKPOINT_POLICIES, COMPILER_OPTIONS
from easydel.sharding import make_mesh
from oracles.cases import CASES, NEW_TOKENS, PROMPT_LENGTH, TOKENS
from oracles.folders import expected, write_model
from oracles.loaded import hidden_states, load
from oracles.tiny import ONE_DEVICE


@pytest.mark.parametrize("name", CASES)
def test_logits_are_those_of_transformers(name, tmp_path):
    model = load(write_model(tmp_path, CASES[name]))
    logits = expected(name).logits
    output = model(TOKENS).logits
    assert output.dtype == jnp.float32
    np.testing.assert_allclose(output[0], logits, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", CASES)
def test_greedy_tokens_are_those_of_transformers(name, tmp_path):
    model = load(write_model(tmp_path, CASES[name]))
    greedy = expected(name).greedy
    out = model.generate(TOKENS[:, :PROMPT_LENGTH], max_new_tokens=NEW_TOKENS)
    np.testing.assert_array_equal(out[0, :PROMPT_LENGTH], TOKENS[0, :PROMPT_LENGTH])
    np.testing.assert_array_equal(out[0, PROMPT_LENGTH:], greedy)


def packed_row(tokens):
    """Returns (tokens, segment, branch, position) of two pairs: prompt 4, chosen 3, rejected 5; then 3, 2, 2."""
    segment = np.repeat([1, 2, 0], [12, 7, 5])
    branch = np.repeat([0, 1, 2, 0, 1, 2, 0], [4, 3, 5, 3, 2, 2, 5])
    position = np.r_[0:4, 4:7, 4:9, 0:3, 3:5, 3:5, [0] * 5]
    return tuple(x.astype(np.int32)[None] for x in (tokens, segment, branch, position))


def test_a_packed_row_gives_each_sequence_the_hidden_states_it_has_alone(folder):
    model = load(folder)
    ids = TOKENS[0]
    packed = np.asarray(hidden_states(model.decoder, model.params, *packed_row(ids)))[0]
    for places in (np.r_[0:7], np.r_[0:4, 7:12], np.r_[12:17], np.r_[12:15, 17:19]):
        alone = ids[None, places].astype(np.int32)
        ones = np.ones_like(alone)
        positions = np.arange(len(places), dtype=np.int32)[None]
        hidden = hidden_states(model.decoder, model.params, alone, ones, 0 * ones, positions)
        np.testing.assert_allclose(packed[places], hidden[0], atol=1e-5)


def gradient(model):
    row = packed_row(TOKENS[0])

    def loss(params):
        hidden, _ = model.decoder(params, *row)
        real = jnp.asarray(row[1] > 0)[..., None]
        return jnp.sum(jnp.where(real, hidden.astype(jnp.float32), 0.0) ** 3), hidden

    return jax.jit(jax.value_and_grad(loss, has_aux=True), compiler_options=COMPILER_OPTIONS)(model.params)


@pytest.mark.parametrize(("policy", "scan_layers"), [("nothing_saveable", True), ("dots_saveable", False)])
def test_checkpointing_and_scanning_do_not_change_the_gradient(folder, policy, scan_layers):
    (_, _), plain = gradient(load(folder))
    (_, _), other = gradient(load(folder, gradient_checkpointing=policy, scan_layers=scan_layers))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), plain, other)


@pytest.mark.parametrize("name", ["gemma3", "olmo3", "qwen3-moe-mixed"])
def test_layers_that_differ_run_in_a_loop_as_they_do_unrolled(name, tmp_path):
    """Three layers that alternate, a pattern of four, and five of which one is sparse."""
    folder = write_model(tmp_path, CASES[name])
    (_, plain_hidden), plain = gradient(load(folder))
    (_, other_hidden), other = gradient(load(folder, gradient_checkpointing="nothing_saveable", scan_layers=True))
    np.testing.assert_allclose(plain_hidden, other_hidden, atol=1e-4)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3), plain, other)


@pytest.mark.parametrize("policy", CHECKPOINT_POLICIES)
def test_every_listed_policy_is_one_that_jax_has(policy):
    double = jax.checkpoint(lambda x: jnp.sin(x) * 2, policy=getattr(jax.checkpoint_policies, policy))
    assert float(jax.grad(double)(0.0)) == 2.0


@pytest.mark.exact
@pytest.mark.parametrize(("dtype", "policy"), [("bfloat16", ""), ("bfloat16", "dots_saveable"), ("float32", "")])
def test_hidden_states_are_bit_equal_with_and_without_gradients(folder, dtype, policy):
    # Otherwise policy and reference of equal weights would disagree at the first step.
    model = load(folder, dtype=dtype, gradient_checkpointing=policy)
    forward = hidden_states(model.decoder, model.params, *packed_row(TOKENS[0]))
    (_, hidden), _ = gradient(model)
    assert forward.dtype == dtype
    np.testing.assert_array_equal(np.asarray(forward, np.float32), np.asarray(hidden, np.float32))


def test_padding_gets_finite_hidden_states_and_gives_finite_gradients(folder):
    (_, hidden), gradients = gradient(load(folder))
    assert np.isfinite(hidden).all()
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))


def test_dropout_happens_only_with_a_key_and_depends_on_it():
    config = ModelConfig.from_hf(CASES["llama-gqa"] | {"attention_dropout": 0.5})
    model = CausalLM.from_config(config, mesh=make_mesh(ONE_DEVICE))
    row = packed_row(TOKENS[0])
    plain, one, two, again = (
        hidden_states(model.decoder, model.params, *row, None if seed is None else jax.random.key(seed))
        for seed in (None, 1, 2, 1)
    )
    np.testing.assert_array_equal(one, again)
    assert not np.allclose(plain, one)
    assert not np.allclose(one, two)
