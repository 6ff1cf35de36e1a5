"""The fields that families share."""

from easydel.models.config import ModelConfig
from oracles.cases import CASES

LLAMA = CASES["llama-gqa"]


def test_head_dim_and_key_value_heads_may_be_left_out():
    config = ModelConfig.from_hf(LLAMA | {"num_key_value_heads": None, "head_dim": None})
    assert (config.num_key_value_heads, config.head_dim) == (4, 8)
