"""Adapters put on a model."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

from easydel.errors import ConfigError
from easydel.models.causal_lm import CausalLM
from easydel.models.lora import TRAINED
from easydel.weights.table import unnest
from oracles.tiny import tiny_config, tiny_model


@pytest.fixture(scope="module")
def base() -> CausalLM:
    return tiny_model()


def test_a_starts_uniform_in_the_range_of_peft_and_b_at_zero(base):
    params = unnest(base.apply_lora(8, seed=1).params)
    for path, a in params.items():
        if path[-1] == "lora_a":
            bound = 1 / math.sqrt(math.prod(a.shape[1:-1]))
            assert 0.9 * bound < np.abs(a).max() <= bound, path
            assert np.std(a) == pytest.approx(bound / math.sqrt(3), rel=0.15), path
            assert not np.any(params[*path[:-1], "lora_b"])
    other = unnest(base.apply_lora(8, seed=2).params)
    assert not np.array_equal(params["layers", "query", "lora_a"], other["layers", "query", "lora_a"])


def test_a_model_has_one_set_of_adapters_and_only_one_with_some_can_be_merged(base, tmp_path):
    adapted = base.apply_lora(2)
    with pytest.raises(ConfigError, match=r"has adapters already, of rank 2: train those on, take model\.merged\(\)"):
        adapted.apply_lora(2)
    with pytest.raises(ConfigError, match="merge = True adds adapters to the weights, and this model has none"):
        base.save_pretrained(tmp_path, merge=True)


def test_adapters_are_float32_beside_weights_of_any_dtype():
    model = CausalLM.from_config(tiny_config(num_hidden_layers=1), param_dtype="bfloat16")
    params = unnest(model.apply_lora(2, use_dora=True).params)
    assert {x.dtype.name for path, x in params.items() if path[-1] in TRAINED} == {"float32"}
    assert params["layers", "query", "kernel"].dtype == jnp.bfloat16
