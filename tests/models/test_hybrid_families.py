"""Families whose layers differ in what mixes tokens: how their configurations are read."""

import pytest

from easydel.errors import ConfigError
from easydel.models.config import ModelConfig
from oracles.cases import CASES


@pytest.mark.parametrize(
    ("changes", "width"),
    [
        ({}, 32),  # two thirds of 40 are 26, rounded up to a multiple of 8
        ({"block_ffn_dim_multiplier": 1.5}, 40),
        ({"block_ffn_dim_multiplier": None}, 26),
        ({"block_ff_dim": 30}, 24),
        ({"block_auto_adjust_ff_dim": False}, 40),
    ],
)
def test_the_width_of_an_mlp_is_adjusted_as_transformers_does(changes, width):
    assert ModelConfig.from_hf(CASES["lfm2"] | changes).intermediate_size == width


def test_layers_without_attention_turn_nothing():
    layers = ModelConfig.from_hf(CASES["lfm2"]).layers
    assert [layer.mixer for layer in layers] == ["conv", "attention", "conv", "conv"]
    assert [layer.rope is None for layer in layers] == [True, False, True, True]


def test_every_fourth_layer_of_qwen_3_5_has_attention_and_turns_a_quarter_of_each_head():
    source = {name: value for name, value in CASES["qwen3-5-biases"].items() if name != "rope_theta"}
    config = ModelConfig.from_hf(source | {"num_hidden_layers": 8})
    assert [layer.mixer == "attention" for layer in config.layers] == [False, False, False, True] * 2
    assert [rope.dim for rope in config.ropes] == [2]
    often = ModelConfig.from_hf(source | {"full_attention_interval": 2})
    assert [layer.mixer == "attention" for layer in often.layers] == [False, True] * 2


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("lfm2", {"layer_types": ["conv", "convolution"] * 2}, "the type 'convolution' is not supported"),
        ("lfm2", {"layer_types": ["conv"]}, "layer_types has 1 entries; num_hidden_layers is 4"),
        ("qwen3-5", {"linear_num_value_heads": 3}, r"\(3\) must be divisible by linear_num_key_heads \(2\)"),
        ("lfm2", {"conv_L_cache": 0}, r"conv_L_cache \(0\) must be above 0"),
    ],
)
def test_settings_of_a_family_that_cannot_be_are_refused(name, changes, message):
    with pytest.raises(ConfigError, match=message):
        ModelConfig.from_hf(CASES[name] | changes)
