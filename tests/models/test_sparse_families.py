"""Which layers of the families with experts have them."""

import dataclasses

import jax
import numpy as np
import pytest

import easydel as ed
from easydel.errors import ConfigError
from easydel.models.config import ModelConfig
from easydel.trainers.objective import make_objective
from easydel.weights.model_files import read_folder
from oracles.cases import CASES, TOKENS
from oracles.folders import write_model
from oracles.loaded import load


@pytest.mark.parametrize(
    ("name", "sparse"),
    [
        ("mixtral", [True, True]),
        ("qwen3-moe-mixed", [False, True, False, False, False]),
        ("qwen2_moe", [False, True, False]),
        ("glm4_moe", [False, True, True]),
    ],
)
def test_experts_are_in_the_layers_that_the_configuration_names(name, sparse):
    assert [layer.sparse for layer in ModelConfig.from_hf(CASES[name]).layers] == sparse


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("mixtral", {"router_jitter_noise": 0.1}, "noise on the input of the router is not supported"),
        ("olmoe", {"clip_qkv": 8.0}, "a bound of queries, keys and values is not supported"),
        ("qwen3-moe", {"num_experts_per_tok": 9}, r"num_experts_per_tok \(9\) must be 1 to the number of experts, 6"),
    ],
)
def test_experts_that_cannot_be_are_refused(name, changes, message):
    with pytest.raises(ConfigError, match=message):
        ModelConfig.from_hf(CASES[name] | changes)


def test_correction_biases_are_chosen_by_and_neither_trained_nor_rounded(tmp_path):
    from easydel.trainers.trainable import make_partition

    folder = write_model(tmp_path / "model", CASES["glm4_moe"])
    model = load(folder)
    bias = model.params["layers"]["router"]["correction"]
    moved = jax.tree.map(lambda leaf: leaf, model.params)
    moved["layers"]["router"]["correction"] = bias + np.linspace(-3, 3, bias.shape[1], dtype=np.float32)
    assert not np.allclose(dataclasses.replace(model, params=moved)(TOKENS).logits, model(TOKENS).logits)
    assert set(make_partition(ed.DPOConfig(), model).frozen) == {("layers", "router", "correction")}
    load(folder, param_dtype="bfloat16").save_pretrained(tmp_path / "out", dtype="bfloat16")
    for name, tensor in read_folder(folder).items():
        if name.endswith("e_score_correction_bias"):
            np.testing.assert_array_equal(read_folder(tmp_path / "out")[name].array(), tensor.array())


def test_a_coefficient_of_a_loss_that_a_model_does_not_have_is_refused():
    experts = ModelConfig.from_hf(CASES["glm4_moe"]).experts
    with pytest.raises(ConfigError, match=r"router_aux_loss_coef = 0.1 has no effect: .* correction biases"):
        make_objective(ed.DPOConfig(router_aux_loss_coef=0.1), experts)
