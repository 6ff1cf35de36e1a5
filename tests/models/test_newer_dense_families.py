"""What the newer families without experts make of their configurations, where they differ from all others."""

import pytest

from easydel.errors import ConfigError
from easydel.models.causal_lm import CausalLM
from easydel.models.config import ModelConfig
from easydel.sharding import make_mesh
from easydel.trainers.checks import check_dropout
from easydel.trainers.config import DPOConfig
from oracles.cases import CASES
from oracles.tiny import ONE_DEVICE


@pytest.mark.parametrize("name", ["cohere2", "exaone4"])
def test_layers_without_the_window_have_no_positions(name):
    layers = ModelConfig.from_hf(CASES[name]).layers
    assert [(layer.window, layer.rope is None) for layer in layers] == [(5, False), (None, True)] * 2


def test_a_pattern_of_letters_says_which_layers_have_the_window():
    layers = ModelConfig.from_hf(CASES["exaone4"] | {"sliding_window_pattern": "LLLG"}).layers
    assert [layer.window for layer in layers] == [5, 5, 5, None]
    with pytest.raises(ConfigError, match="LLXG"):
        ModelConfig.from_hf(CASES["exaone4"] | {"sliding_window_pattern": "LLXG"})


def test_queries_grow_where_the_configuration_says_how_fast():
    plain = CASES["ministral3"]["rope_parameters"] | {"llama_4_scaling_beta": None}
    growing, still = (
        ModelConfig.from_hf(CASES["ministral3"] | {"rope_parameters": rope}).layers[0].rope
        for rope in (CASES["ministral3"]["rope_parameters"], plain)
    )
    assert growing is not None
    assert growing.temperature == 0.4
    assert growing._replace(temperature=0.0) == still


def test_dropout_of_the_residual_stream_is_refused_once_it_is_asked_for():
    model = CausalLM.from_config(ModelConfig.from_hf(CASES["seed_oss"]), mesh=make_mesh(ONE_DEVICE))
    check_dropout(DPOConfig(), model)
    with pytest.raises(ConfigError, match=r"residual_dropout is 0.1 .* Leave disable_dropout on"):
        check_dropout(DPOConfig(disable_dropout=False), model)
