"""The decoder against transformers, against itself in other layouts, and at other precisions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from easydel.errors import ConfigError
from easydel.models.auto import AutoEasyDeLModelForCausalLM
from easydel.models.causal_lm import CausalLM
from easydel.models.config import ModelConfig
from easydel.models.decoder import CHECKPOINT_POLICIES, COMPILER_OPTIONS
from easydel.sharding import make_mesh
from oracles.cases import CASES, NEW_TOKENS, PROMPT_LENGTH, TOKENS
from oracles.folders import expected, write_model

# One device compiles faster than eight; `test_sharding.py` holds that the number does not matter.
ONE_DEVICE = (1, 1, 1, 1, 1)
hidden_states = jax.jit(
    lambda decoder, *arguments: decoder(*arguments), static_argnums=0, compiler_options=COMPILER_OPTIONS
)


def load(folder, **options):
    return AutoEasyDeLModelForCausalLM.from_pretrained(
        folder, **{"dtype": "float32", "sharding_axis_dims": ONE_DEVICE} | options
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A llama with grouped heads, as a folder."""
    return write_model(tmp_path_factory.mktemp("model"), CASES["llama-gqa"])


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


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_on_either_side_does_not_change_the_logits_of_real_tokens(folder, side):
    model = load(folder)
    short = TOKENS[:, :9]
    width = ((0, 0), (5, 0) if side == "left" else (0, 5))
    real = np.pad(np.ones_like(short), width)
    padded = model(np.pad(short, width, constant_values=3), real).logits[0][np.flatnonzero(real[0])]
    np.testing.assert_allclose(padded, model(short).logits[0], atol=1e-5)


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


def gradient(model):
    row = packed_row(TOKENS[0])

    def loss(params):
        hidden = model.decoder(params, *row)
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


def test_fresh_parameters_follow_the_configuration():
    config = ModelConfig.from_hf(CASES["llama-biases"] | {"initializer_range": 0.05})
    params = CausalLM.from_config(config, param_dtype="bfloat16", mesh=make_mesh(ONE_DEVICE)).params
    assert params["layers"]["query"]["kernel"].shape == (2, 32, 4, 8)
    assert params["embedding"].dtype == jnp.bfloat16
    assert float(jnp.std(params["embedding"].astype(jnp.float32))) == pytest.approx(0.05, rel=0.1)
    assert (params["layers"]["mlp_norm"] == 1).all()
    assert (params["layers"]["down"]["bias"] == 0).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gradient_checkpointing": "nothing_savable"}, "Did you mean 'nothing_saveable'"),
        ({"gradient_checkpointing": "save_only_these_names"}, "is not supported"),
        ({"precision": "hihgest"}, "Did you mean 'highest'"),
        ({"precision": 3}, "precision 3 is not supported. Supported: None, default, high, highest"),
        ({"attn_mechanism": "vanila"}, "Did you mean 'vanilla'"),
        ({"dtype": "float17"}, "dtype 'float17' is not supported. Supported: float32"),
        ({"config_kwargs": {"attn_mechanisms": "vanilla"}}, "Did you mean 'attn_mechanism'"),
    ],
)
def test_a_setting_that_does_not_exist_is_refused_with_the_nearest_name(folder, options, message):
    with pytest.raises(ConfigError, match=message):
        load(folder, **options)


def test_config_kwargs_win_over_keywords(folder):
    model = load(folder, config_kwargs={"gradient_checkpointing": "dots_saveable", "dtype": jnp.bfloat16})
    assert (model.decoder.gradient_checkpointing, model.decoder.dtype) == ("dots_saveable", jnp.bfloat16)


def test_recomputation_may_be_turned_on_and_off_as_in_other_programs(folder):
    kept = [load(folder, gradient_checkpointing=given).decoder.gradient_checkpointing for given in (True, False)]
    assert kept == ["nothing_saveable", ""]


@pytest.mark.parametrize(
    ("ids", "mask", "message"),
    [
        ([[1, 48]], None, "vocabulary has 0 to 47"),
        ([[-1, 3]], None, "vocabulary has 0 to 47"),
        ([1, 2], None, "must be integers"),
        ([[0.5]], None, "must be integers"),
        ([[1, 2]], [[1]], "attention_mask has shape"),
    ],
)
def test_calling_with_unusable_input_says_why(folder, ids, mask, message):
    with pytest.raises(ConfigError, match=message):
        load(folder)(np.array(ids), mask)
