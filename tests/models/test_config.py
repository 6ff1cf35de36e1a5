"""Reading and writing config.json."""

import dataclasses

import pytest

from easydel.errors import ConfigError
from easydel.models.config import ModelConfig
from oracles.cases import CASES

pytestmark = pytest.mark.quick

LLAMA = CASES["llama-gqa"]


@pytest.mark.parametrize("name", CASES)
def test_writing_and_reading_again_gives_the_same_configuration(name):
    config = ModelConfig.from_hf(CASES[name])
    assert ModelConfig.from_hf(config.to_hf()) == config
    assert isinstance(hash(config), int)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"model_type": "lama"},
            r"model_type 'lama' is not supported. Did you mean 'llama'\? Supported: cohere2, ernie4_5, exaone4, gemma",
        ),
        ({"model_type": None}, "there is no model_type, .* Supported: cohere2, ernie4_5, exaone4, gemma, gemma2"),
        ({"model_type": "llama4", "text_config": {}}, "with images or audio that is not supported.* gemma3, mistral3"),
        ({"rope_scaling": {"factor": 2.0}}, r"has a factor \(2.0\) and no rope_type"),
        ({"hidden_act": "sily"}, "Did you mean 'silu'"),
        ({"rope_scaling": {"rope_type": "yarm", "factor": 2.0}}, "Did you mean 'yarn'"),
        ({"rope_scaling": {"rope_type": "llama3", "factor": 2.0}}, "lacks low_freq_factor, high_freq_factor"),
        ({"rope_scaling": {"rope_type": "linear", "factor": 2.0, "shape": 1}}, "do not know: shape"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor is 0.5; in this family only 1.0"),
        (
            {"quantization_config": {"quant_method": "gptq", "bits": 4}},
            "quantized already .*'gptq'",
        ),
        (
            {"num_attention_heads": 30, "num_key_value_heads": 4, "head_dim": 8},
            r"num_attention_heads \(30\) must be divisible by num_key_value_heads \(4\)",
        ),
        ({"num_attention_heads": 5}, r"hidden_size \(32\) must be divisible by num_attention_heads \(5\)"),
        ({"head_dim": 7}, r"head_dim \(7\) must be even"),
        ({"num_hidden_layers": 0}, r"num_hidden_layers \(0\) must be at least 1"),
        ({"attention_dropout": 1.5}, r"attention_dropout \(1.5\)"),
        ({"vocab_size": None, "hidden_size": None}, "lacks vocab_size, hidden_size"),
    ],
)
def test_a_configuration_we_cannot_build_says_why(changes, message):
    with pytest.raises(ConfigError, match=message):
        ModelConfig.from_hf(LLAMA | changes)


def test_a_configuration_that_was_changed_after_it_was_read_is_not_written():
    changed = dataclasses.replace(ModelConfig.from_hf(LLAMA), vocab_size=7)
    with pytest.raises(ConfigError, match=r"this configuration was changed after it was read"):
        changed.to_hf()
