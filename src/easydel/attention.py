"""Attention: one entry, several mechanisms behind it. `vanilla` (a dense mask) is the oracle of the others."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Bool, Float, Int, Key

from easydel.blockwise import MASKED, Blocks, Scores, blockwise_attention, query_blocks
from easydel.errors import ConfigError, nearest
from easydel.sharding import RULES, constrain, length_shards, spec_for
from easydel.softcap import soft_cap

Dropout = tuple[Key[Array, ""], float]  # the key and the rate in (0, 1)
# A layer's attention, with the layout of the rows already in it: (query, key, value, dropout) -> mixed values.
LayerAttention = Callable[[jax.Array, jax.Array, jax.Array, Dropout | None], jax.Array]

MECHANISMS = ("vanilla", "blockwise", "sdpa")
WITH_DROPOUT = ("vanilla",)
WITH_SCORE_CAP = ("vanilla", "blockwise")


def visible(
    segment: Int[Array, "rows length"],
    branch: Int[Array, "rows length"],
    position: Int[Array, "rows length"] | None = None,
    window: int | None = None,
) -> Bool[Array, "rows length length"]:
    """Returns which token (second axis) sees which (third axis) in packed rows.

    A token sees earlier-or-same places of its own segment that are prompt (branch 0) or of its own branch, and with a
    `window` only those where `query position - key position < window`. Padding (segment 0) sees padding only, so no
    query is left without a key.
    """
    place = jnp.arange(segment.shape[-1])
    same_segment = segment[:, :, None] == segment[:, None, :]
    same_branch = (branch[:, None, :] == 0) | (branch[:, :, None] == branch[:, None, :])
    seen = same_segment & same_branch & (place[:, None] >= place[None, :])
    if window is None:
        return seen
    if position is None:
        raise ValueError("a window is measured in positions, and none are given.")
    return seen & (position[:, :, None] - position[:, None, :] < window)


def attend(
    query: Float[Array, "rows q_len heads head_dim"],
    key: Float[Array, "rows k_len kv_heads head_dim"],
    value: Float[Array, "rows k_len kv_heads head_dim"],
    mask: Bool[Array, "rows q_len k_len"],
    *,
    scale: float,
    mechanism: str,
    score_cap: float | None = None,
    dropout: Dropout | None = None,
) -> Float[Array, "rows q_len heads head_dim"]:
    """Returns softmax(scale * query key^T) value over the keys that `mask` allows, in the dtype of `query`.

    With `score_cap` the softmax is of c * tanh(scale * query key^T / c).

    Heads share keys in groups: head h uses key-value head h // (heads / kv_heads). The softmax is float32.
    A query with no allowed key gets finite numbers of no meaning. `blockwise` is `vanilla` here: what it leaves out
    is told by the layout of packed rows, not by a mask.

    Raises:
        ConfigError: a mechanism that does not exist, or dropout or a cap with one that has none.
    """
    _check(mechanism)
    if mechanism != "sdpa":
        return _vanilla(query, key, value, mask, scale, score_cap, dropout)
    if dropout is not None or score_cap is not None:
        raise ConfigError("attn_mechanism 'sdpa' has no dropout and no cap of scores; use 'vanilla'.")
    return jax.nn.dot_product_attention(query, key, value, mask=mask[:, None], scale=scale)


def packed_attention(
    mechanism: str,
    segment: Int[Array, "rows length"],
    branch: Int[Array, "rows length"],
    position: Int[Array, "rows length"],
    *,
    scale: float,
    mesh: Mesh,
    window: int | None = None,
    score_cap: float | None = None,
    precision: str | None = None,
) -> LayerAttention:
    """Returns the attention that every layer with this window applies to rows of this layout in one forward pass.

    What depends on the layout alone is computed here, once per forward pass and not once per layer. Outputs at padding
    mean nothing. `blockwise` asks for segments that each lie as [prompt chosen rejected], with the positions that go
    with that; `precision` is for it alone, the others go by `jax.default_matmul_precision`.
    """
    if mechanism == "blockwise":
        return _blockwise(segment, branch, Scores(scale, window, score_cap, precision), mesh)
    mask = constrain(visible(segment, branch, position, window), ("rows", "length", "keys"), mesh, name="tokens")

    def attention(query: jax.Array, key: jax.Array, value: jax.Array, dropout: Dropout | None) -> jax.Array:
        # Where rows are split along their length, each device has its own queries and needs the keys of all.
        key, value = (constrain(x, ("rows", "keys", "kv_heads", "head_dim"), mesh, name="keys") for x in (key, value))
        return attend(query, key, value, mask, scale=scale, mechanism=mechanism, score_cap=score_cap, dropout=dropout)

    return attention


def resolve_mechanism(name: str, *, platform: str, dropout_rate: float = 0.0, score_cap: float | None = None) -> str:
    """Returns the mechanism that `name` stands for; `auto` is the fastest here that has what the model needs.

    That is `vanilla` for dropout, else `blockwise` on CPU, else `vanilla` for capped scores, else `sdpa`.

    Raises:
        ConfigError: a name that does not exist, or a mechanism without dropout or cap for a model that has it.
    """
    if name == "auto":
        if dropout_rate > 0:
            return "vanilla"
        return "blockwise" if platform == "cpu" else "sdpa" if score_cap is None else "vanilla"
    _check(name)
    if name not in WITH_DROPOUT and dropout_rate > 0:
        raise ConfigError(
            f"attn_mechanism {name!r} has no dropout and attention_dropout is {dropout_rate}. "
            "Use attn_mechanism 'vanilla', or set attention_dropout to 0 in config.json."
        )
    if name not in WITH_SCORE_CAP and score_cap is not None:
        raise ConfigError(
            f"attn_mechanism {name!r} has no cap of scores and attn_logit_softcapping is {score_cap}. "
            f"Use {' or '.join(map(repr, WITH_SCORE_CAP))}."
        )
    return name


def _vanilla(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    mask: jax.Array,
    scale: float,
    score_cap: float | None,
    dropout: Dropout | None,
) -> jax.Array:
    rows, q_len, heads, head_dim = query.shape
    kv_heads = key.shape[2]
    grouped = query.reshape(rows, q_len, kv_heads, heads // kv_heads, head_dim)
    scores = jnp.einsum("rqkgd,rskd->rkgqs", grouped, key, preferred_element_type=jnp.float32)
    scores = jnp.where(mask[:, None, None], soft_cap(scores * scale, score_cap), MASKED)
    weights = jax.nn.softmax(scores, axis=-1)
    if dropout is not None:
        dropout_key, rate = dropout
        kept = jax.random.bernoulli(dropout_key, 1 - rate, weights.shape)
        weights = jnp.where(kept, weights / (1 - rate), 0.0)
    mixed = jnp.einsum("rkgqs,rskd->rqkgd", weights.astype(value.dtype), value)
    return mixed.reshape(rows, q_len, heads, head_dim)


def _blockwise(segment: jax.Array, branch: jax.Array, how: Scores, mesh: Mesh) -> LayerAttention:
    """The loops over blocks are each device's own: where they end depends on the layout of its rows.

    Where rows are split along their length, a device has a part of the queries and gets the keys of whole rows.
    """
    rows = spec_for(("rows", "keys"), segment.shape, mesh, name="tokens")
    each = PartitionSpec((*RULES["rows"], *RULES["length"]))
    local = partial(jax.shard_map, mesh=mesh, check_vma=False) if mesh.size > 1 else _unsharded
    parts = length_shards(mesh)

    def layout(segment: jax.Array, branch: jax.Array) -> Blocks:
        part = jax.lax.axis_index(RULES["length"]) if parts > 1 else 0
        return jax.tree.map(lambda x: x[None], query_blocks(segment, branch, part=part, parts=parts))

    blocks = local(layout, in_specs=(rows, rows), out_specs=each)(segment, branch)

    def attention(query: jax.Array, key: jax.Array, value: jax.Array, dropout: Dropout | None) -> jax.Array:
        if dropout is not None:
            raise ConfigError("attn_mechanism 'blockwise' has no dropout; use 'vanilla'.")
        of_query, of_key = (
            spec_for(("rows", *axes, "head_dim"), x.shape, mesh, name="tokens")
            for axes, x in ((("length", "heads"), query), (("keys", "kv_heads"), key))
        )

        def mix(query: jax.Array, key: jax.Array, value: jax.Array, blocks: Blocks) -> jax.Array:
            mine = jax.tree.map(lambda x: x[0], blocks)
            return blockwise_attention(query, key, value, mine, how)

        specs = (of_query, of_key, of_key, each)
        return local(mix, in_specs=specs, out_specs=of_query)(query, key, value, blocks)

    return attention


def _unsharded(function: Callable, *, in_specs: object, out_specs: object) -> Callable:
    return function


def _check(name: str) -> None:
    if name not in MECHANISMS:
        choices = ["auto", *MECHANISMS]
        raise ConfigError(
            f"attn_mechanism {name!r} is not supported.{nearest(name, choices)} Supported: {', '.join(choices)}."
        )
