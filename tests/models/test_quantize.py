"""Quantized weights: the nearest codes, the bytes promised, and a forward and backward pass of what they stand for."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from easydel.errors import ConfigError
from easydel.models.auto import AutoEasyDeLModelForCausalLM
from easydel.models.causal_lm import CausalLM
from easydel.models.lora import TRAINED
from easydel.models.quantize import (
    BLOCK,
    NF4,
    QUANTIZATIONS,
    Quantized,
    dense,
    quantize,
    rows_at,
)
from easydel.weights.table import Row, nest, unnest
from oracles.cases import CASES
from oracles.folders import write_model
from oracles.runs import same_bits
from oracles.tiny import ONE_DEVICE, tiny_config, tiny_model

TOKENS = np.random.default_rng(3).integers(0, 32, (8, 12))
HEADS = Row("w.weight", ("w", "kernel"), "(heads head_dim) embed -> embed heads head_dim")


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def nearest(flat: np.ndarray) -> np.ndarray:
    """What NF4 makes of [outputs inputs], block by block and weight by weight."""
    out = np.empty_like(flat)
    for row, values in enumerate(flat):
        for start in range(0, len(values), BLOCK):
            block = values[start : start + BLOCK]
            largest = np.abs(block).max()
            for at, value in enumerate(block):
                out[row, start + at] = NF4[np.argmin(np.abs(NF4 - value / largest))] * largest
    return out


@pytest.mark.parametrize("inputs", [64, 192, 100, 7])
def test_nf4_takes_the_nearest_of_16_values_times_the_largest_of_the_block(inputs):
    weights = noise(inputs, 2, 3)
    quantized = quantize(jnp.asarray(weights), HEADS, "nf4")
    assert quantized.codes.shape == (2, 3, -(-inputs // 2))
    assert quantized.scales.shape == (2, 3, -(-inputs // BLOCK))
    assert quantized.size == weights.size
    expected = nearest(weights.transpose(1, 2, 0).reshape(6, inputs)).reshape(2, 3, inputs).transpose(2, 0, 1)
    np.testing.assert_allclose(dense(quantized, "float32"), expected, rtol=1e-6)


def test_int8_is_within_half_a_step_of_the_largest_weight_of_an_output():
    weights = noise(50, 2, 3)
    quantized = quantize(jnp.asarray(weights), HEADS, "int8")
    assert quantized.codes.dtype == jnp.int8
    step = np.abs(weights).max(axis=0) / 127
    assert np.all(np.abs(dense(quantized, "float32") - weights) <= step / 2 * 1.0001)


@pytest.mark.parametrize("kind", QUANTIZATIONS)
def test_stacks_are_quantized_layer_by_layer_and_zeros_stay_zeros(kind):
    row = HEADS._replace(name="model.layers.{layer}.w.weight")
    weights = jnp.asarray(noise(3, 10, 2, 4)).at[1].set(0.0)
    whole = quantize(weights, row, kind)
    assert same_bits(jax.tree.map(lambda x: x[2], whole), quantize(weights[2], row, kind))
    assert not np.any(dense(whole, "float32")[1])


def test_rows_of_an_embedding_are_dequantized_alone():
    row = Row("e.weight", ("embedding",), "vocab embed -> vocab embed")
    table = quantize(jnp.asarray(noise(9, 70)), row, "nf4")
    index = jnp.asarray([[3, 0, 8]])
    np.testing.assert_array_equal(rows_at(table, index, "float32"), dense(table, "float32")[index])


@pytest.fixture(scope="module")
def base() -> CausalLM:
    return tiny_model(config=tiny_config(hidden_size=64, intermediate_size=72))


def dequantized(model: CausalLM) -> CausalLM:
    """The float model whose weights are those that the quantized ones stand for."""
    arrays = {path: dense(x, "float32") if isinstance(x, Quantized) else x for path, x in unnest(model.params).items()}
    return dataclasses.replace(model, params=nest(arrays))


@pytest.mark.parametrize("kind", QUANTIZATIONS)
def test_logits_and_gradients_are_those_of_the_weights_that_it_stands_for(base, kind):
    quantized = base.quantized(kind).apply_lora(4, use_dora=True)
    plain = dequantized(quantized)
    np.testing.assert_allclose(quantized(TOKENS).logits, plain(TOKENS).logits, atol=1e-5)
    assert np.abs(plain(TOKENS).logits - base(TOKENS).logits).max() > 1e-2  # quantization is not without loss
    rows = [jnp.ones((8, 12), int), jnp.zeros((8, 12), int), jnp.broadcast_to(jnp.arange(12), (8, 12))]

    def gradient(model: CausalLM) -> dict:
        arrays = unnest(model.params)
        trained = {"/".join(path): x for path, x in arrays.items() if path[-1] in TRAINED}

        def loss(trained: dict) -> jax.Array:
            params = nest(arrays | {tuple(name.split("/")): x for name, x in trained.items()})
            hidden, _ = model.decoder(params, jnp.asarray(TOKENS), *rows)
            return jnp.sum(jnp.sin(model.decoder.logits(params, hidden)))

        return jax.jit(jax.grad(loss))(trained)

    found, expected = gradient(quantized), gradient(plain)
    for name, by_adapter in expected.items():
        np.testing.assert_allclose(found[name], by_adapter, rtol=1e-3, atol=1e-4 * np.abs(by_adapter).max() + 1e-6)


def test_a_quantized_base_merges_with_its_adapters_and_is_saved_dequantized(base, tmp_path):
    quantized = base.quantized("nf4")
    adapted = quantized.apply_lora(4)
    adapted = dataclasses.replace(
        adapted, params=jax.tree.map_with_path(lambda path, x: x + 0.1 if "lora_b" in str(path) else x, adapted.params)
    )
    np.testing.assert_allclose(adapted.merged()(TOKENS).logits, adapted(TOKENS).logits, atol=5e-5)
    named = dataclasses.replace(quantized, origin=dataclasses.replace(quantized.origin, config=base.config.to_hf()))
    named.save_pretrained(tmp_path)
    again = AutoEasyDeLModelForCausalLM.from_pretrained(tmp_path, dtype="float32", sharding_axis_dims=ONE_DEVICE)
    assert same_bits(again.params, dequantized(quantized).params)


def test_unknown_kinds_and_weights_quantized_already_are_refused(base, tmp_path):
    with pytest.raises(ConfigError, match=r"quantization 'nf5' is not supported. Did you mean 'nf4'\? Supported: nf4"):
        base.quantized("nf5")
    with pytest.raises(ConfigError, match="quantized to nf4 already"):
        base.quantized("nf4").quantized("int8")
    folder = write_model(tmp_path, CASES["llama"])
    with pytest.raises(ConfigError, match="quantization 'int4' is not supported"):
        AutoEasyDeLModelForCausalLM.from_pretrained(folder, quantization="int4")


def test_a_checkpoint_that_is_quantized_already_is_refused_by_name(tmp_path):
    folder = write_model(tmp_path, CASES["llama"])
    config = CASES["llama"] | {"quantization_config": {"quant_method": "gptq", "bits": 4}}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match=r"quantized already .*'quant_method': 'gptq'.*Load the original model"):
        AutoEasyDeLModelForCausalLM.from_pretrained(folder)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_gradient_of_a_row_that_is_looked_up_often_is_summed_in_float32(dtype):
    table, index = jnp.ones((8, 4), dtype), jnp.zeros(20_000, jnp.int32)
    factors = jnp.asarray(np.random.default_rng(0).normal(0.1, 0.5, size=(20_000, 4)), jnp.bfloat16)
    gradient = jax.grad(lambda x: jnp.sum((rows_at(x, index, "bfloat16") * factors).astype(jnp.float32)))(table)
    expected = np.asarray(factors, np.float64).sum(axis=0)
    np.testing.assert_allclose(np.asarray(gradient[0], np.float64), expected, rtol=2**-8)
    assert gradient.dtype == dtype
    assert not jnp.any(gradient[1:])
