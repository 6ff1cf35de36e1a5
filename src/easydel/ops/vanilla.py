"""Attention by a dense mask and a softmax written out: the oracle of all other mechanisms, and the one with dropout."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from easydel.ops.dense import DenseConfig, Layout, make_dense
from easydel.ops.mechanism import MASKED, Mechanism, in_precision
from easydel.ops.softcap import soft_cap
from easydel.ops.visible import sees


def masked_softmax(
    query: Float[Array, "rows q_len heads head_dim"],
    key: Float[Array, "rows k_len kv_heads head_dim"],
    value: Float[Array, "rows k_len kv_heads head_dim"],
    mask: Bool[Array, "rows q_len k_len"],
    *,
    scale: float,
    score_cap: float | None,
    drop: Callable[[jax.Array], jax.Array] | None = None,
) -> Float[Array, "rows q_len heads head_dim"]:
    """Returns softmax(scale * query key^T) value over the keys that `mask` allows, all scores at once.

    Args:
        drop: what becomes of the weights [rows heads queries keys].
    """
    rows, q_len, heads, head_dim = query.shape
    kv_heads, k_len = key.shape[2], key.shape[1]
    grouped = query.reshape(rows, q_len, kv_heads, heads // kv_heads, head_dim)
    scores = jnp.einsum("rqkgd,rskd->rkgqs", grouped, key, preferred_element_type=jnp.float32)
    scores = jnp.where(mask[:, None, None], soft_cap(scores * scale, score_cap), MASKED)
    weights = jax.nn.softmax(scores, axis=-1)
    if drop is not None:
        weights = drop(weights.reshape(rows, heads, q_len, k_len)).reshape(weights.shape)
    mixed = jnp.einsum("rkgqs,rskd->rqkgd", weights.astype(value.dtype), value)
    return mixed.reshape(rows, q_len, heads, head_dim)


def _attend(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    layout: Layout,
    dropout_key: jax.Array | None,
    config: DenseConfig,
) -> jax.Array:
    """Returns the attention of these queries, all scores at once."""
    scale, window, cap, precision = config.scores
    mask = sees(layout.queries, layout.keys, window)
    with in_precision(precision):
        drop = None if dropout_key is None else partial(_dropped, dropout_key, layout, config.dropout_rate)
        return masked_softmax(query, key, value, mask, scale=scale, score_cap=cap, drop=drop)


def _dropped(dropout_key: jax.Array, layout: Layout, rate: float, weights: jax.Array) -> jax.Array:
    """Returns the weights [rows heads queries keys], some of them 0 and the others over what is kept on average."""
    rows, heads, _, keys = weights.shape
    fold = jax.random.fold_in

    def of_query(row: jax.Array, head: jax.Array, place: jax.Array) -> jax.Array:
        mine = fold(fold(fold(jax.random.wrap_key_data(dropout_key), row), head), place)
        return jax.random.bernoulli(mine, 1 - rate, (keys,))

    of_row = jax.vmap(jax.vmap(of_query, (None, None, 0)), (None, 0, None))
    numbers = layout.row + jnp.arange(rows), layout.head + jnp.arange(heads)
    kept = jax.vmap(of_row, (0, None, 0))(*numbers, layout.queries.place)
    return jnp.where(kept, weights / (1 - rate), 0.0)


VANILLA = Mechanism(partial(make_dense, attend=_attend, dropout=True), dropout=True, score_cap=True, dense_mask=True)
