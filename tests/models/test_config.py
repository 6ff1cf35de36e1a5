"""Reading and writing config.json."""

import pytest

from easydel.errors import ConfigError
from easydel.models.config import ModelConfig
from oracles.cases import CASES

LLAMA = CASES["llama-gqa"]


@pytest.mark.parametrize("name", CASES)
def test_writing_and_reading_again_gives_the_same_configuration(name):
    config = ModelConfig.from_hf(CASES[name])
    assert ModelConfig.from_hf(config.to_hf()) == config
    assert isinstance(hash(config), int)


def test_both_spellings_of_rotary_settings_mean_the_same():
    scaling = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    scaling["original_max_position_embeddings"] = 8192
    plain = {key: value for key, value in LLAMA.items() if key != "rope_parameters"}
    spellings = [
        {"rope_theta": 5e5, "rope_scaling": {"rope_type": "llama3", **scaling}},
        {"rope_theta": 5e5, "rope_scaling": {"type": "llama3", **scaling}},
        {"rope_parameters": {"rope_type": "llama3", "rope_theta": 5e5, **scaling}},
    ]
    one, two, three = (ModelConfig.from_hf(plain | spelling) for spelling in spellings)
    assert one == two == three
    assert one.rope.rope_theta == 5e5


def test_head_dim_and_key_value_heads_may_be_left_out():
    config = ModelConfig.from_hf(LLAMA | {"num_key_value_heads": None, "head_dim": None})
    assert (config.num_key_value_heads, config.head_dim) == (4, 8)


@pytest.mark.parametrize(("given", "read"), [(None, ()), (2, (2,)), ([2, 7], (2, 7))])
def test_end_of_sequence_may_be_none_one_or_several(given, read):
    assert ModelConfig.from_hf(LLAMA | {"eos_token_id": given}).eos_token_id == read


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "lama"}, r"model_type 'lama' is not supported. Did you mean 'llama'\? Supported: llama, qwen2"),
        ({"model_type": None}, "model_type 'None' is not supported"),
        ({"hidden_act": "sily"}, "Did you mean 'silu'"),
        ({"rope_scaling": {"rope_type": "yarm", "factor": 2.0}}, "Did you mean 'yarn'"),
        ({"rope_scaling": {"rope_type": "llama3", "factor": 2.0}}, "lacks low_freq_factor, high_freq_factor"),
        ({"rope_scaling": {"rope_type": "linear", "factor": 2.0, "shape": 1}}, "do not know: shape"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor"),
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


@pytest.mark.parametrize(
    "changes", [{"use_sliding_window": True, "sliding_window": 8}, {"layer_types": ["sliding_attention"] * 2}]
)
def test_sliding_windows_are_refused(changes):
    with pytest.raises(ConfigError, match="sliding-window"):
        ModelConfig.from_hf(CASES["qwen2"] | changes)
