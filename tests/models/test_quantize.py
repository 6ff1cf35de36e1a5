"""Packed weights: the nearest codes, the bytes promised, and a forward and backward pass of what they stand for."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from easydel.errors import ConfigError, WeightsError
from easydel.models.auto import AutoEasyDeLModelForCausalLM
from easydel.models.causal_lm import CausalLM
from easydel.models.lora import TRAINED
from easydel.models.quantize import (
    BLOCK,
    NF4,
    QUANTIZATIONS,
    Packed,
    dense,
    is_packable,
    pack,
    packed_bytes,
    quantization_of,
    rows_at,
)
from easydel.models.rows import axis_sizes, weight_rows
from easydel.weights.table import Row, get, nest, unnest
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
    packed = pack(jnp.asarray(weights), HEADS, "nf4")
    assert packed.codes.shape == (2, 3, -(-inputs // 2))
    assert packed.scales.shape == (2, 3, -(-inputs // BLOCK))
    assert packed.size == weights.size
    expected = nearest(weights.transpose(1, 2, 0).reshape(6, inputs)).reshape(2, 3, inputs).transpose(2, 0, 1)
    np.testing.assert_allclose(dense(packed, "float32"), expected, rtol=1e-6)


def test_int8_is_within_half_a_step_of_the_largest_weight_of_an_output():
    weights = noise(50, 2, 3)
    packed = pack(jnp.asarray(weights), HEADS, "int8")
    assert packed.codes.dtype == jnp.int8
    step = np.abs(weights).max(axis=0) / 127
    assert np.all(np.abs(dense(packed, "float32") - weights) <= step / 2 * 1.0001)


@pytest.mark.parametrize("kind", QUANTIZATIONS)
def test_stacks_are_packed_layer_by_layer_and_zeros_stay_zeros(kind):
    row = HEADS._replace(name="model.layers.{layer}.w.weight")
    weights = jnp.asarray(noise(3, 10, 2, 4)).at[1].set(0.0)
    whole = pack(weights, row, kind)
    assert same_bits(jax.tree.map(lambda x: x[2], whole), pack(weights[2], row, kind))
    assert not np.any(dense(whole, "float32")[1])


def test_rows_of_an_embedding_are_unpacked_alone():
    row = Row("e.weight", ("embedding",), "vocab embed -> vocab embed")
    table = pack(jnp.asarray(noise(9, 70)), row, "nf4")
    index = jnp.asarray([[3, 0, 8]])
    np.testing.assert_array_equal(rows_at(table, index, "float32"), dense(table, "float32")[index])


def test_a_model_of_40_million_weights_takes_0_6_bytes_a_weight_under_nf4():
    config = tiny_config(
        hidden_size=512,
        intermediate_size=1376,
        num_hidden_layers=8,
        num_attention_heads=8,
        num_key_value_heads=4,
        vocab_size=32768,
        tie_word_embeddings=True,
    )
    sizes, rows = axis_sizes(config), weight_rows(config)
    weights = {row.path: int(np.prod(row.shape(sizes))) for row in rows}
    assert 39e6 < sum(weights.values()) < 41e6

    def share(kind: str) -> float:
        bytes_of = (packed_bytes(row, sizes, kind) if is_packable(row) else 4 * weights[row.path] for row in rows)
        return sum(bytes_of) / sum(weights.values())

    assert share("nf4") == pytest.approx(0.5636, abs=5e-4)
    assert share("int8") == pytest.approx(1.0078, abs=5e-4)


@pytest.fixture(scope="module")
def base() -> CausalLM:
    return tiny_model(config=tiny_config(hidden_size=64, intermediate_size=72))


def bytes_of(model: CausalLM) -> int:
    return sum(x.nbytes for x in jax.tree.leaves(model.params))


@pytest.mark.parametrize("kind", QUANTIZATIONS)
def test_the_bytes_in_memory_are_those_announced(base, kind):
    packed, sizes = base.quantized(kind), base.sizes
    announced = sum(
        packed_bytes(row, sizes, kind) if is_packable(row) else get(base.params, row.path).nbytes for row in base.rows
    )
    assert bytes_of(packed) == announced < bytes_of(base) * (0.2 if kind == "nf4" else 0.3)
    assert quantization_of(packed.params) == kind
    assert quantization_of(base.params) is None


def unpacked(model: CausalLM) -> CausalLM:
    """The float model whose weights are those that the packed ones stand for."""
    arrays = {path: dense(x, "float32") if isinstance(x, Packed) else x for path, x in unnest(model.params).items()}
    return dataclasses.replace(model, params=nest(arrays))


@pytest.mark.parametrize("kind", QUANTIZATIONS)
def test_logits_and_gradients_are_those_of_the_weights_that_it_stands_for(base, kind):
    packed = base.quantized(kind).apply_lora(4, use_dora=True)
    plain = unpacked(packed)
    np.testing.assert_allclose(packed(TOKENS).logits, plain(TOKENS).logits, atol=1e-5)
    assert np.abs(plain(TOKENS).logits - base(TOKENS).logits).max() > 1e-2  # packing is not without loss
    rows = [jnp.ones((8, 12), int), jnp.zeros((8, 12), int), jnp.broadcast_to(jnp.arange(12), (8, 12))]

    def gradient(model: CausalLM) -> dict:
        arrays = unnest(model.params)
        trained = {"/".join(path): x for path, x in arrays.items() if path[-1] in TRAINED}

        def loss(trained: dict) -> jax.Array:
            params = nest(arrays | {tuple(name.split("/")): x for name, x in trained.items()})
            hidden = model.decoder(params, jnp.asarray(TOKENS), *rows)
            return jnp.sum(jnp.sin(model.decoder.logits(params, hidden)))

        return jax.jit(jax.grad(loss))(trained)

    found, expected = gradient(packed), gradient(plain)
    for name, by_adapter in expected.items():
        np.testing.assert_allclose(found[name], by_adapter, rtol=1e-3, atol=1e-4 * np.abs(by_adapter).max() + 1e-6)


def test_a_packed_base_merges_with_its_adapters_and_is_saved_unpacked(base, tmp_path):
    packed = base.quantized("nf4")
    adapted = packed.apply_lora(4)
    adapted = dataclasses.replace(
        adapted, params=jax.tree.map_with_path(lambda path, x: x + 0.1 if "lora_b" in str(path) else x, adapted.params)
    )
    np.testing.assert_allclose(adapted.merged()(TOKENS).logits, adapted(TOKENS).logits, atol=5e-5)
    named = dataclasses.replace(packed, origin=dataclasses.replace(packed.origin, config=base.config.to_hf()))
    named.save_pretrained(tmp_path)
    again = AutoEasyDeLModelForCausalLM.from_pretrained(tmp_path, dtype="float32", sharding_axis_dims=ONE_DEVICE)
    assert same_bits(again.params, unpacked(packed).params)


@pytest.mark.parametrize("kind", QUANTIZATIONS)
def test_weights_packed_as_they_are_read_are_those_packed_in_memory_on_any_mesh(tmp_path, kind):
    folder = write_model(tmp_path, CASES["qwen2-tied"])
    options = {"dtype": "float32", "param_dtype": "bfloat16", "sharding_axis_dims": ONE_DEVICE}
    read = AutoEasyDeLModelForCausalLM.from_pretrained(folder, quantization=kind, **options)
    memory = AutoEasyDeLModelForCausalLM.from_pretrained(folder, **options).quantized(kind)
    assert same_bits(read.params, memory.params)
    assert read.params["embedding"].dtype == "bfloat16"
    assert read.params["norm"].dtype == jnp.bfloat16


@pytest.mark.parametrize("kind", QUANTIZATIONS)
def test_a_mesh_splits_packed_weights_where_blocks_stay_whole(kind):
    config = tiny_config(hidden_size=128, intermediate_size=64, num_hidden_layers=1)
    with pytest.warns(UserWarning, match=r"down_proj.*: 64 inputs packed in blocks of 64 do not divide over 2 devices"):
        spread = tiny_model(config=config, dims=(1, 2, 1, 2, 1)).quantized(kind)
    gate, down = (spread.params["layers"][name]["kernel"].codes for name in ("gate", "down"))
    assert gate.sharding.shard_shape(gate.shape) == (1, 32, gate.shape[2] // 2)  # outputs over tp, inputs over fsdp
    assert down.sharding.shard_shape(down.shape) == (1, 64, down.shape[2])  # half of 64 inputs is no block
    alone = tiny_model(config=config).quantized(kind)
    np.testing.assert_allclose(spread(TOKENS).logits, alone(TOKENS).logits, atol=2e-5)


def test_kinds_that_there_are_not_and_weights_packed_already_are_refused(base, tmp_path):
    with pytest.raises(ConfigError, match=r"quantization 'nf5' is not supported. Did you mean 'nf4'\? Supported: nf4"):
        base.quantized("nf5")
    with pytest.raises(ConfigError, match="packed into nf4 already"):
        base.quantized("nf4").quantized("int8")
    folder = write_model(tmp_path, CASES["llama"])
    with pytest.raises(ConfigError, match="quantization 'int4' is not supported"):
        AutoEasyDeLModelForCausalLM.from_pretrained(folder, quantization="int4")


def test_a_checkpoint_that_is_quantised_already_is_refused_by_name(tmp_path):
    folder = write_model(tmp_path, CASES["llama"])
    config = CASES["llama"] | {"quantization_config": {"quant_method": "gptq", "bits": 4}}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError, match=r"quantised already .*quant_method 'gptq'.*Load the original model"):
        AutoEasyDeLModelForCausalLM.from_pretrained(folder)
