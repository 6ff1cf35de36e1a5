"""Meshes and rules; and that a model gives the same logits on every mesh of the eight CPU devices."""

import jax
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec

from easydel.errors import ConfigError
from easydel.models.auto import AutoEasyDeLModelForCausalLM
from easydel.models.causal_lm import CausalLM
from easydel.models.config import ModelConfig
from easydel.models.rows import axis_sizes, weight_rows
from easydel.sharding import length_shards, make_mesh, row_shards, spec_for
from easydel.weights.load import shardings_of
from oracles.cases import CASES, SMALL, TOKENS
from oracles.folders import write_model
from oracles.tiny import tiny_config


def test_minus_one_takes_the_devices_that_are_left():
    mesh = make_mesh((2, -1, 1, 2, 1))
    assert dict(mesh.shape) == {"dp": 2, "fsdp": 2, "ep": 1, "tp": 2, "sp": 1}
    assert set(mesh.axis_types) == {AxisType.Auto}
    assert row_shards(mesh) == 4


def test_sizes_that_are_all_given_take_so_many_devices():
    assert make_mesh((1, 2, 1, 2, 1)).size == 4


@pytest.mark.parametrize(
    ("dims", "message"),
    [
        ((1, -1, 1, 1), "has 4 sizes; it needs 5: dp, fsdp, ep, tp, sp"),
        ((1, -1, 1, -1, 1), "at most one may be -1"),
        ((1, 0, 1, 1, 1), "at least 1"),
        ((3, -1, 1, 1, 1), "needs a multiple of 3 devices; 8 are here"),
        ((4, 4, 1, 1, 1), "needs 16 devices; 8 are here"),
    ],
)
def test_a_mesh_that_cannot_be_made_says_why(dims, message):
    with pytest.raises(ConfigError, match=message):
        make_mesh(dims)


def test_rows_are_split_over_data_axes_and_weights_over_fsdp_and_tp():
    mesh = make_mesh((2, 2, 1, 2, 1))
    assert spec_for(("rows", "length"), (8, 5), mesh) == PartitionSpec(("dp", "fsdp"), None)
    axes = ("layers", "embed", "heads", "head_dim")
    assert spec_for(axes, (3, 32, 4, 7), mesh) == PartitionSpec(None, ("fsdp",), ("tp",), None)


def test_devices_that_share_a_row_share_the_weights_too():
    mesh = make_mesh((1, 2, 1, 1, 4))
    assert spec_for(("rows", "length"), (2, 8), mesh) == PartitionSpec(("fsdp",), ("sp",))
    assert spec_for(("embed", "mlp"), (32, 7), mesh) == PartitionSpec(("fsdp", "sp"), None)
    assert (row_shards(mesh), length_shards(mesh)) == (2, 4)


def test_a_size_that_does_not_divide_is_refused_with_both_numbers():
    with pytest.raises(
        ConfigError, match=r"w_q: axis 'embed' of size 30 does not divide over 8 devices \(mesh axis fsdp\)"
    ):
        spec_for(("embed",), (30,), make_mesh((1, 8, 1, 1, 1)), name="w_q")


@pytest.mark.parametrize(
    ("changes", "dims", "message"),
    [
        (
            {"num_attention_heads": 3, "num_key_value_heads": 3, "head_dim": 4},
            (1, 1, 1, 2, 1),
            "'heads' of size 3 .* 2 devices .*tp",
        ),
        ({"num_key_value_heads": 1}, (1, 1, 1, 2, 1), "'kv_heads' of size 1 .* 2 devices .*tp"),
        ({"intermediate_size": 25}, (1, 1, 1, 2, 1), "'mlp' of size 25 .* 2 devices .*tp"),
        ({"vocab_size": 33}, (1, 1, 1, 2, 1), "'vocab' of size 33 .* 2 devices .*tp"),
        ({"hidden_size": 12, "head_dim": 4}, (1, 2, 1, 1, 4), "'embed' of size 12 .* 8 devices .*fsdp x sp"),
        ({"model_type": "mixtral", "num_local_experts": 3}, (1, 1, 2, 1, 1), "'experts' of size 3 .* 2 devices .*ep"),
    ],
    ids=lambda value: "-".join(map(str, value.items())) if isinstance(value, dict) else "",
)
def test_no_odd_size_is_silently_whole_on_every_device(changes, dims, message):
    config = tiny_config(**changes)
    with pytest.raises(ConfigError, match=rf"model\..*: axis {message}.* Choose sharding_axis_dims so that it does"):
        shardings_of(weight_rows(config), axis_sizes(config), make_mesh(dims))


def test_a_model_whose_heads_do_not_divide_over_tp_is_refused_by_tensor(tmp_path):
    folder = write_model(tmp_path, CASES["llama-mqa-tied"])
    with pytest.raises(ConfigError, match=r"self_attn.k_proj.weight: axis 'kv_heads' of size 1 .* 2 devices"):
        AutoEasyDeLModelForCausalLM.from_pretrained(folder, sharding_axis_dims=(1, -1, 1, 2, 1))


@pytest.mark.parametrize(
    ("name", "dims"),
    [
        ("llama-biases", (1, 8, 1, 1, 1)),
        ("llama-biases", (2, 2, 1, 2, 1)),
        ("qwen2-tied", (2, 2, 1, 2, 1)),
        ("gemma2", (1, 2, 1, 2, 2)),
        ("qwen3-moe", (1, 1, 2, 2, 2)),
    ],
)
def test_logits_are_the_same_on_every_mesh(dims, name, tmp_path):
    folder = write_model(tmp_path, CASES[name])
    single = AutoEasyDeLModelForCausalLM.from_pretrained(folder, dtype="float32", sharding_axis_dims=(1, 1, 1, 1, 1))
    model = AutoEasyDeLModelForCausalLM.from_pretrained(folder, dtype="float32", sharding_axis_dims=dims)
    kernel = model.params["layers"]["query"]["kernel"]
    assert kernel.addressable_shards[0].data.size * dims[1] * dims[3] * dims[4] == kernel.size
    jax.tree.map(np.testing.assert_array_equal, single.params, model.params)
    # Three rows over eight devices, or ten tokens over two: the model fills up and drops again.
    ids = np.random.default_rng(0).integers(0, SMALL["vocab_size"], (3, 10))
    np.testing.assert_allclose(model(ids).logits, single(ids).logits, atol=3e-5)
    tokens = TOKENS[:, :6]
    np.testing.assert_array_equal(model.generate(tokens, max_new_tokens=4), single.generate(tokens, max_new_tokens=4))


def test_fresh_parameters_do_not_depend_on_the_mesh():
    config = ModelConfig.from_hf(CASES["llama-gqa"])
    models = [
        CausalLM.from_config(config, seed=5, mesh=mesh) for mesh in map(make_mesh, [(1, 1, 1, 1, 1), (1, 4, 1, 2, 1)])
    ]
    jax.tree.map(np.testing.assert_array_equal, models[0].params, models[1].params)
