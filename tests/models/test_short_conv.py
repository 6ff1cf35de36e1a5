"""The short convolution of LFM2: gates before and behind, one token more as in the whole row."""

import jax.numpy as jnp
import numpy as np

from easydel.models import short_conv
from easydel.models.config import ModelConfig
from easydel.models.packed_layout import packed_layout
from easydel.sharding import make_mesh
from oracles.cases import CASES
from oracles.tiny import ONE_DEVICE

CONFIG = ModelConfig.from_hf(CASES["lfm2"])
RANDOM = np.random.default_rng(0)
WEIGHTS = {
    **{
        name: {"kernel": RANDOM.standard_normal((4, 4)).astype(np.float32)} for name in ("in_gate", "out_gate", "input")
    },
    "output": {"kernel": np.eye(4, dtype=np.float32)},
    "taps": RANDOM.standard_normal((3, 4)).astype(np.float32),
    "taps_bias": RANDOM.standard_normal(4).astype(np.float32),
}
X = jnp.asarray(RANDOM.standard_normal((1, 6, 4)), jnp.float32)


def test_a_layer_is_the_product_of_a_gate_and_the_convolution_of_a_gated_input():
    ones = jnp.ones((1, 6), jnp.int32)
    layout = packed_layout(ones, 0 * ones, taps=3, mesh=make_mesh(ONE_DEVICE), with_state=True)
    mixed, tail = short_conv.mix(CONFIG, WEIGHTS, short_conv.before(CONFIG, WEIGHTS, X), layout)
    b, c, x = (np.asarray(X[0]) @ WEIGHTS[name]["kernel"] for name in ("in_gate", "out_gate", "input"))
    past = np.concatenate([np.zeros((2, 4)), b * x])
    convolved = sum(WEIGHTS["taps"][at] * past[at : at + 6] for at in range(3)) + WEIGHTS["taps_bias"]
    np.testing.assert_allclose(short_conv.behind(CONFIG, WEIGHTS, mixed)[0], c * convolved, rtol=1e-4, atol=1e-5)

    first = short_conv.before(CONFIG, WEIGHTS, X[:, :5])
    layout = packed_layout(ones[:, :5], 0 * ones[:, :5], taps=3, mesh=make_mesh(ONE_DEVICE), with_state=True)
    _, before = short_conv.mix(CONFIG, WEIGHTS, first, layout)
    more, after = short_conv.step(CONFIG, WEIGHTS, short_conv.before(CONFIG, WEIGHTS, X[:, 5:]), before)
    np.testing.assert_allclose(more[0][0, 0], mixed[0][0, 5], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(after, tail, rtol=1e-5)
