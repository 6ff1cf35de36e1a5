"""Reading and writing config.json."""

import copy
import dataclasses

import pytest

from easydel.errors import ConfigError
from easydel.models.config import ModelConfig
from oracles.cases import CASES

LLAMA = CASES["llama-gqa"]
_NAMES = ("longrope", "su", "yarn")


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
    assert one.layers[0].rope.rope_theta == 5e5


def test_head_dim_and_key_value_heads_may_be_left_out():
    config = ModelConfig.from_hf(LLAMA | {"num_key_value_heads": None, "head_dim": None})
    assert (config.num_key_value_heads, config.head_dim) == (4, 8)


@pytest.mark.parametrize(("given", "read"), [(None, ()), (2, (2,)), ([2, 7], (2, 7))])
def test_end_of_sequence_may_be_none_one_or_several(given, read):
    assert ModelConfig.from_hf(LLAMA | {"eos_token_id": given}).eos_token_id == read


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"model_type": "lama"},
            r"model_type 'lama' is not supported. Did you mean 'llama'\? Supported: gemma, gemma2",
        ),
        ({"model_type": None}, "there is no model_type, .* Supported: gemma, gemma2"),
        ({"model_type": "gemma3"}, "of 'gemma3' the text_config is read"),
        ({"rope_scaling": {"factor": 2.0}}, r"has a factor \(2.0\) and no rope_type"),
        ({"hidden_act": "sily"}, "Did you mean 'silu'"),
        ({"rope_scaling": {"rope_type": "yarm", "factor": 2.0}}, "Did you mean 'yarn'"),
        ({"rope_scaling": {"rope_type": "llama3", "factor": 2.0}}, "lacks low_freq_factor, high_freq_factor"),
        ({"rope_scaling": {"rope_type": "linear", "factor": 2.0, "shape": 1}}, "do not know: shape"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor is 0.5; in this family only 1.0"),
        ({"model_type": "qwen2_5_vl"}, "model of text and images.*'gemma3_text'"),
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, r"weights are quantised \(gptq\)"),
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
    ("name", "changes", "message"),
    [
        ("qwen2", {"layer_types": ["sliding_attention"] * 2}, "sliding_window, or use_sliding_window, is off"),
        ("qwen2", {"layer_types": ["full_attention"]}, "layer_types has 1 entries; num_hidden_layers is 2"),
        ("qwen2", {"layer_types": ["full_atention"] * 2}, "Did you mean 'full_attention'"),
        ("mistral", {"sliding_window": 0}, r"sliding_window \(0\) must be at least 1"),
        ("smollm3", {"no_rope_layers": [1]}, "no_rope_layers has 1 entries"),
        ("gemma2", {"attn_logit_softcapping": -1.0}, r"attn_logit_softcapping \(-1.0\) must be above 0"),
        ("gemma3", {"use_bidirectional_attention": True}, "attention to later tokens is not supported"),
        ("phi3", {"resid_pdrop": 0.1}, "resid_pdrop is 0.1: dropout of the residual stream"),
        ("phi3-long", {"partial_rotary_factor": 0.9}, "is 7 channels; rotary angles turn pairs"),
        ("phi3-long", {"rope_scaling": {"type": "longrope", "short_factor": [1.0]}}, "lacks long_factor"),
        (
            "phi3-long",
            {"rope_scaling": {"type": "longrope", "short_factor": [1.0], "long_factor": [1.0] * 3}},
            "short_factor has 1 numbers; 6 rotated channels need 3",
        ),
    ],
)
def test_settings_of_a_family_that_cannot_be_are_refused(name, changes, message):
    with pytest.raises(ConfigError, match=message):
        ModelConfig.from_hf(CASES[name] | changes)


def test_a_configuration_that_was_changed_after_it_was_read_is_not_written():
    changed = dataclasses.replace(ModelConfig.from_hf(LLAMA), vocab_size=7)
    with pytest.raises(ConfigError, match=r"not that of its config\.json"):
        changed.to_hf()


def test_settings_that_say_nothing_about_positions_are_let_by():
    scaling = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 8}
    one, other = (
        ModelConfig.from_hf(LLAMA | {"rope_scaling": {**scaling, **more}}) for more in ({}, {"finetuned": True})
    )
    assert one == other


def test_early_names_of_longrope_mean_the_same():
    known = CASES["phi3-long"]
    configs = [ModelConfig.from_hf(known | {"rope_scaling": known["rope_scaling"] | {"type": name}}) for name in _NAMES]
    assert configs[0] == configs[1] == configs[2]


_LINEAR = {"rope_type": "linear", "factor": 4.0}
_NESTED = {
    "full_attention": {"rope_type": "default", "rope_theta": 3e5},
    "sliding_attention": {"rope_type": "default", "rope_theta": 2e4},
}


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("llama-gqa", {"rope_scaling": _LINEAR, "rope_theta": 5e5, "rope_parameters": {"rope_theta": 7e5}}),
        ("llama-gqa", {"rope_scaling": _LINEAR, "rope_parameters": {"rope_type": "default", "rope_theta": 7e5}}),
        ("llama-gqa", {"rope_theta": 5e5, "rope_parameters": {"rope_type": "linear", "factor": 2.0}}),
        ("llama-gqa", {"rope_theta": 5e5, "rope_parameters": {"rope_type": "default", "rope_theta": 7e5}}),
        ("llama-gqa", {"rope_scaling": None, "rope_parameters": {"rope_type": "default", "rope_theta": 7e5}}),
        ("gemma3", {"rope_scaling": _LINEAR, "rope_parameters": _NESTED}),
        ("gemma3", {"rope_scaling": None, "rope_parameters": _NESTED, "rope_theta": 5e5, "rope_local_base_freq": 7e3}),
        ("gemma3", {"rope_scaling": _LINEAR, "rope_theta": 5e5, "rope_local_base_freq": 7e3}),
    ],
)
@pytest.mark.filterwarnings("ignore")  # of transformers, about the settings
def test_where_rotary_settings_are_spelled_twice_the_one_counts_that_counts_in_transformers(name, settings):
    from transformers import AutoConfig

    rotary = ("rope_theta", "rope_scaling", "rope_parameters", "rope_local_base_freq")
    source = {key: value for key, value in CASES[name].items() if key not in rotary} | copy.deepcopy(settings)
    ours = {layer.window is None: layer.rope for layer in ModelConfig.from_hf(copy.deepcopy(source)).layers}
    theirs = AutoConfig.for_model(**source).rope_parameters
    if "full_attention" not in theirs:
        theirs = {"full_attention": theirs}
    for kind, found in theirs.items():
        rope = ours[kind == "full_attention"]
        assert (rope.rope_type, rope.rope_theta) == (found["rope_type"], found["rope_theta"])
        assert found["rope_type"] == "default" or rope.factor == found["factor"]
