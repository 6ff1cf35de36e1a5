"""Random parameters."""

import jax.numpy as jnp
import pytest

from easydel.models.causal_lm import CausalLM
from easydel.models.config import ModelConfig
from easydel.sharding import make_mesh
from oracles.cases import CASES

# One device compiles faster than eight; `test_sharding.py` holds that the number does not matter.
ONE_DEVICE = (1, 1, 1, 1, 1)


def test_fresh_parameters_follow_the_configuration():
    config = ModelConfig.from_hf(CASES["llama-biases"] | {"initializer_range": 0.05})
    params = CausalLM.from_config(config, param_dtype="bfloat16", mesh=make_mesh(ONE_DEVICE)).params
    assert params["layers"]["query"]["kernel"].shape == (2, 32, 4, 8)
    assert params["embedding"].dtype == jnp.bfloat16
    assert float(jnp.std(params["embedding"].astype(jnp.float32))) == pytest.approx(0.05, rel=0.1)
    assert (params["layers"]["mlp_norm"] == 1).all()
    assert (params["layers"]["down"]["bias"] == 0).all()
