"""What mixes the tokens of a kind of layer, and what it keeps for generation."""

import numpy as np

from easydel.models.config import ModelConfig
from easydel.models.mixing import row_mixing
from easydel.sharding import make_mesh
from oracles.cases import CASES
from oracles.tiny import ONE_DEVICE


def test_states_are_kept_only_where_they_are_asked_for():
    config = ModelConfig.from_hf(CASES["lfm2"])
    conv, attention = config.layers[0], config.layers[1]
    ones = np.ones((1, 8), np.int32)
    layout = ones, 0 * ones, np.arange(8, dtype=np.int32)[None]
    x = np.random.default_rng(0).standard_normal((1, 8, config.hidden_size)).astype(np.float32)
    heads = x.reshape(1, 8, config.num_attention_heads, config.head_dim)
    for with_state in (False, True):
        mixing = row_mixing(config, make_mesh(ONE_DEVICE), "vanilla", None, layout, with_state=with_state)
        taps = np.ones((3, config.hidden_size), np.float32)
        (mixed, gate), tail = mixing(conv, None)({"taps": taps}, (x, x))
        np.testing.assert_allclose(mixed[0, 2], x[0, :3].sum(0), rtol=1e-5)
        np.testing.assert_array_equal(gate, x)
        out, kept = mixing(attention, None)(heads, heads, heads, None)
        assert out.shape == heads.shape
        assert (tail is None, kept is None) == (not with_state,) * 2
        if with_state:
            np.testing.assert_array_equal(tail[0], x[0, -2:])
            np.testing.assert_array_equal(kept[0], heads)
