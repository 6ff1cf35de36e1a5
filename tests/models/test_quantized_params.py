"""The parameters of a quantized model: their bytes, their shardings, and loading them quantized."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from easydel.models.auto import AutoEasyDeLModelForCausalLM
from easydel.models.causal_lm import CausalLM
from easydel.models.quantize import QUANTIZATIONS, is_quantizable, quantization_of
from easydel.models.quantized_params import quantized_bytes
from easydel.models.rows import axis_sizes, weight_rows
from easydel.weights.table import get
from oracles.cases import CASES
from oracles.folders import write_model
from oracles.runs import same_bits
from oracles.tiny import ONE_DEVICE, tiny_config, tiny_model

TOKENS = np.random.default_rng(3).integers(0, 32, (8, 12))


@pytest.fixture(scope="module")
def base() -> CausalLM:
    return tiny_model(config=tiny_config(hidden_size=64, intermediate_size=72))


def test_a_model_of_40_million_parameters_takes_0_6_bytes_each_under_nf4():
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
        bytes_of = (quantized_bytes(row, sizes, kind) if is_quantizable(row) else 4 * weights[row.path] for row in rows)
        return sum(bytes_of) / sum(weights.values())

    assert share("nf4") == pytest.approx(0.5636, abs=5e-4)
    assert share("int8") == pytest.approx(1.0078, abs=5e-4)


def bytes_of(model: CausalLM) -> int:
    return sum(x.nbytes for x in jax.tree.leaves(model.params))


@pytest.mark.parametrize("kind", QUANTIZATIONS)
def test_the_bytes_in_memory_are_those_announced(base, kind):
    quantized, sizes = base.quantized(kind), base.sizes
    announced = sum(
        quantized_bytes(row, sizes, kind) if is_quantizable(row) else get(base.params, row.path).nbytes
        for row in base.rows
    )
    assert bytes_of(quantized) == announced < bytes_of(base) * (0.2 if kind == "nf4" else 0.3)
    assert quantization_of(quantized.params) == kind
    assert quantization_of(base.params) is None


@pytest.mark.parametrize("kind", QUANTIZATIONS)
def test_weights_quantized_as_they_are_read_are_those_quantized_in_memory_on_any_mesh(tmp_path, kind):
    folder = write_model(tmp_path, CASES["qwen2-tied"])
    options = {"dtype": "float32", "param_dtype": "bfloat16", "sharding_axis_dims": ONE_DEVICE}
    read = AutoEasyDeLModelForCausalLM.from_pretrained(folder, quantization=kind, **options)
    memory = AutoEasyDeLModelForCausalLM.from_pretrained(folder, **options).quantized(kind)
    assert same_bits(read.params, memory.params)
    assert read.params["embedding"].dtype == "bfloat16"
    assert read.params["norm"].dtype == jnp.bfloat16


@pytest.mark.parametrize("kind", QUANTIZATIONS)
def test_a_mesh_splits_quantized_weights_where_blocks_stay_whole(kind):
    config = tiny_config(hidden_size=128, intermediate_size=64, num_hidden_layers=1)
    with pytest.warns(
        UserWarning, match=r"down_proj.*: 64 inputs quantized in blocks of 64 do not divide over 2 devices"
    ):
        spread = tiny_model(config=config, dims=(1, 2, 1, 2, 1)).quantized(kind)
    gate, down = (spread.params["layers"][name]["kernel"].codes for name in ("gate", "down"))
    assert gate.sharding.shard_shape(gate.shape) == (1, 32, gate.shape[2] // 2)  # outputs over tp, inputs over fsdp
    assert down.sharding.shard_shape(down.shape) == (1, 64, down.shape[2])  # half of 64 inputs is not a block
    alone = tiny_model(config=config).quantized(kind)
    np.testing.assert_allclose(spread(TOKENS).logits, alone(TOKENS).logits, atol=2e-5)
