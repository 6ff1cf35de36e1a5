"""Attention by a dense mask and `jax.nn.dot_product_attention`, which XLA lowers as it likes it."""

from functools import partial

import jax

from easydel.ops.dense import DenseConfig, Layout, make_dense
from easydel.ops.mechanism import Mechanism, in_precision
from easydel.ops.visible import sees


def _attend(
    query: jax.Array, key: jax.Array, value: jax.Array, layout: Layout, _: jax.Array | None, config: DenseConfig
) -> jax.Array:
    """Returns the attention of these queries, all scores at once."""
    scale, window, precision = config.scores.scale, config.scores.window, config.scores.precision
    mask = sees(layout.queries, layout.keys, window)
    with in_precision(precision):
        return jax.nn.dot_product_attention(query, key, value, mask=mask[:, None], scale=scale)


SDPA = Mechanism(partial(make_dense, attend=_attend), dense_mask=True, jax_kernel=True)
