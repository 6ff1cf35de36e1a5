"""Attention: one entry, several mechanisms behind it. `vanilla` (a dense mask) is the oracle of the others."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from easydel.errors import ConfigError, nearest

Dropout = tuple[Key[Array, ""], float]  # the key and the rate in (0, 1)
# A layer's attention, with the layout of the rows already in it: (query, key, value, dropout) -> mixed values.
LayerAttention = Callable[[jax.Array, jax.Array, jax.Array, Dropout | None], jax.Array]

BLOCK = 128  # queries of `blockwise` at a time
# Masked scores are this instead of -inf, so that a query that sees nothing gets finite numbers and gradients.
MASKED = -0.7 * float(jnp.finfo(jnp.float32).max)


def visible(segment: Int[Array, "rows length"], branch: Int[Array, "rows length"]) -> Bool[Array, "rows length length"]:
    """Returns which token (second axis) sees which (third axis) in packed rows.

    A token sees earlier-or-same places of its own segment that are prompt (branch 0) or of its own branch.
    Padding (segment 0) sees padding only, so no query is left without a key.
    """
    place = jnp.arange(segment.shape[-1])
    same_segment = segment[:, :, None] == segment[:, None, :]
    same_branch = (branch[:, None, :] == 0) | (branch[:, :, None] == branch[:, None, :])
    return same_segment & same_branch & (place[:, None] >= place[None, :])


def attend(
    query: Float[Array, "rows q_len heads head_dim"],
    key: Float[Array, "rows k_len kv_heads head_dim"],
    value: Float[Array, "rows k_len kv_heads head_dim"],
    mask: Bool[Array, "rows q_len k_len"],
    *,
    scale: float,
    mechanism: str,
    dropout: Dropout | None = None,
) -> Float[Array, "rows q_len heads head_dim"]:
    """Returns softmax(scale * query key^T) value over the keys that `mask` allows, in the dtype of `query`.

    Heads share keys in groups: head h uses key-value head h // (heads / kv_heads). The softmax is float32.
    A query with no allowed key gets finite numbers of no meaning.

    Raises:
        ConfigError: a mechanism that does not exist, or dropout with one that has none.
    """
    return _mechanism(mechanism)(query, key, value, mask, scale, dropout)


def packed_attention(
    mechanism: str,
    segment: Int[Array, "rows length"],
    branch: Int[Array, "rows length"],
    *,
    scale: float,
) -> LayerAttention:
    """Returns the attention that every layer of one forward pass applies to rows of this layout.

    What depends on the layout alone is computed here, once per forward pass and not once per layer. This is
    where a mechanism that skips blocks or separates the branches gets the layout instead of a dense mask.
    """
    mask = visible(segment, branch)

    def attention(query: jax.Array, key: jax.Array, value: jax.Array, dropout: Dropout | None) -> jax.Array:
        return attend(query, key, value, mask, scale=scale, mechanism=mechanism, dropout=dropout)

    return attention


def resolve_mechanism(name: str, *, platform: str, dropout_rate: float = 0.0) -> str:
    """Returns the mechanism that `name` stands for: `auto` is `blockwise` on CPU and for dropout, else `sdpa`.

    Raises:
        ConfigError: a name that does not exist, or a mechanism without dropout for a model that has it.
    """
    if name == "auto":
        return "blockwise" if platform == "cpu" or dropout_rate > 0 else "sdpa"
    _mechanism(name)
    if name == "sdpa" and dropout_rate > 0:
        raise ConfigError(
            f"attn_mechanism 'sdpa' has no dropout and attention_dropout is {dropout_rate}. "
            "Use attn_mechanism 'blockwise' or 'vanilla', or set attention_dropout to 0 in config.json."
        )
    return name


def _vanilla(
    query: jax.Array, key: jax.Array, value: jax.Array, mask: jax.Array, scale: float, dropout: Dropout | None
) -> jax.Array:
    rows, q_len, heads, head_dim = query.shape
    kv_heads = key.shape[2]
    grouped = query.reshape(rows, q_len, kv_heads, heads // kv_heads, head_dim)
    scores = jnp.einsum("rqkgd,rskd->rkgqs", grouped, key, preferred_element_type=jnp.float32)
    scores = jnp.where(mask[:, None, None], scores * scale, MASKED)
    weights = jax.nn.softmax(scores, axis=-1)
    if dropout is not None:
        dropout_key, rate = dropout
        kept = jax.random.bernoulli(dropout_key, 1 - rate, weights.shape)
        weights = jnp.where(kept, weights / (1 - rate), 0.0)
    mixed = jnp.einsum("rkgqs,rskd->rqkgd", weights.astype(value.dtype), value)
    return mixed.reshape(rows, q_len, heads, head_dim)


def _sdpa(
    query: jax.Array, key: jax.Array, value: jax.Array, mask: jax.Array, scale: float, dropout: Dropout | None
) -> jax.Array:
    if dropout is not None:
        raise ConfigError("attn_mechanism 'sdpa' has no dropout; use 'blockwise' or 'vanilla'.")
    return jax.nn.dot_product_attention(query, key, value, mask=mask[:, None], scale=scale)


def _blockwise(
    query: jax.Array, key: jax.Array, value: jax.Array, mask: jax.Array, scale: float, dropout: Dropout | None
) -> jax.Array:
    """Returns what `_vanilla` does, one block of queries at a time against no key that comes after the block.

    Half of the scores of a row are never computed. Where there are more keys than queries, as with a cache, nothing is
    known about their order and every key is read.
    """
    length = query.shape[1]
    if length != key.shape[1] or length <= BLOCK:
        return _vanilla(query, key, value, mask, scale, dropout)
    mixed = []
    for start in range(0, length, BLOCK):
        end = min(start + BLOCK, length)
        block = query[:, start:end], key[:, :end], value[:, :end], mask[:, start:end, :end]
        block_dropout = None if dropout is None else (jax.random.fold_in(dropout[0], start), dropout[1])
        mixed.append(_vanilla(*block, scale, block_dropout))
    return jnp.concatenate(mixed, axis=1)


MECHANISMS: dict[str, Callable[..., jax.Array]] = {"vanilla": _vanilla, "blockwise": _blockwise, "sdpa": _sdpa}


def _mechanism(name: str) -> Callable[..., jax.Array]:
    if name not in MECHANISMS:
        choices = ["auto", *MECHANISMS]
        raise ConfigError(
            f"attn_mechanism {name!r} is not supported.{nearest(name, choices)} Supported: {', '.join(choices)}."
        )
    return MECHANISMS[name]
