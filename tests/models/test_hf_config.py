"""Values of config.json: their types, rotary settings, token ids."""

import copy
import re

import pytest

from easydel.errors import ConfigError
from easydel.models.config import ModelConfig
from easydel.models.hf_config import check_types
from oracles.cases import CASES

LLAMA = CASES["llama-gqa"]
_NAMES = ("longrope", "su", "yarn")
_LINEAR = {"rope_type": "linear", "factor": 4.0}
_NESTED = {
    "full_attention": {"rope_type": "default", "rope_theta": 3e5},
    "sliding_attention": {"rope_type": "default", "rope_theta": 2e4},
}


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


@pytest.mark.parametrize(("given", "read"), [(None, ()), (2, (2,)), ([2, 7], (2, 7))])
def test_end_of_sequence_may_be_none_one_or_several(given, read):
    assert ModelConfig.from_hf(LLAMA | {"eos_token_id": given}).eos_token_id == read


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


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"vocab_size": "many"}, "vocab_size is 'many'; it must be an integer"),
        ({"vocab_size": 2.5}, "vocab_size is 2.5; it must be an integer"),
        ({"vocab_size": True}, "vocab_size is True; it must be an integer"),
        ({"num_hidden_layers": 10**6}, "it must be an integer up to 10,000"),
        ({"rope_theta": "1e6"}, "rope_theta is '1e6'; it must be a number"),
        ({"rms_norm_eps": float("nan")}, "rms_norm_eps is nan; it must be a number"),
        ({"tie_word_embeddings": 1}, "tie_word_embeddings is 1; it must be a boolean"),
        ({"hidden_act": 3}, "hidden_act is 3; it must be a string"),
        ({"eos_token_id": [1, "2"]}, "it must be an integer, or a list of integers"),
        ({"layer_types": "full_attention"}, "it must be a list of strings"),
        ({"rope_scaling": {"short_factor": 2.0}}, "short_factor is 2.0; it must be a list of numbers"),
        ({"rope_scaling": "linear"}, "rope_scaling is 'linear'; it must be a JSON object"),
    ],
)
def test_a_value_of_another_type_is_an_error_with_its_name(values, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        check_types(values)
    check_types(dict.fromkeys(values))  # null is as good as absent
