"""The kernel of TPUs, interpreted here, against a dense mask."""

import jax
import jax.numpy as jnp
import numpy as np

from easydel.ops.attention import packed_attention
from easydel.sharding import make_mesh
from oracles.tiny import ONE_DEVICE


def test_splash_has_the_gradients_of_a_dense_mask():
    """With a cap, on two rows of 200 tokens, which are two blocks with their padding."""
    segment, branch = np.zeros((2, 2, 200), np.int32)
    segment[:, :150], branch[:, 60:150], branch[:, 100:150], segment[1, 150:170] = 1, 1, 2, 2
    layout = [jnp.asarray(x) for x in (segment, branch, np.tile(np.arange(200), (2, 1)))]
    rng = np.random.default_rng(0)
    arguments = [jnp.asarray(rng.standard_normal((2, 200, heads, 8)), jnp.float32) for heads in (4, 2, 2)]
    d_out = np.where(segment > 0, 1.0, 0.0)[..., None, None] * np.cos(np.arange(8))

    def gradient(mechanism):
        attention = packed_attention(mechanism, *layout, scale=0.3, mesh=make_mesh(ONE_DEVICE), score_cap=2.0)
        return jax.jit(jax.grad(lambda *x: jnp.sum(d_out * attention(*x, None)), argnums=(0, 1, 2)))(*arguments)

    for given, expected in zip(gradient("splash"), gradient("vanilla"), strict=True):
        np.testing.assert_allclose(given, expected, atol=2e-5)
