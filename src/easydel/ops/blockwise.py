"""Exact attention on packed rows, one block of queries and one block of keys at a time, with no score that nobody sees.

The scores of a pair of blocks meet the softmax while they are in the cache of the processor and are never written out
(FlashAttention's online softmax, arXiv 2205.14135); the backward pass makes them again from the logarithm of each
query's sum. How many pairs there are is known once the layout is, so the loops end where the layout says, which
automatic differentiation cannot turn round: the gradient is written by hand.

Inside, the tokens of all rows lie one after another, `[kv_heads tokens head_dim]`, and the queries of the heads that
share a key form one group. Scores are `[kv_heads keys queries]`: XLA on CPU is slow at sums along the last axis and at
products that have to turn their result. All of a pair of blocks then fits the cache and one core.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int

from easydel.ops.mechanism import MASKED, LayerAttention, Mechanism, RowLayout, Scores, on_each_device
from easydel.ops.softcap import soft_cap, times_slope
from easydel.sharding import RULES, length_shards

BLOCK = 64  # tokens; of 32 to 256 the fastest on CPU, for head_dim 8 and 32


class Blocks(NamedTuple):
    """The queries of packed rows in blocks, and the keys that each may see: places in all rows, one after another.

    A block holds the queries from `start` to `end`, at most BLOCK of them, the first of which is number `query` of
    those that are here. They see the keys from `prompt` to `prompt_end`, and those from `own` up to themselves. Only
    the first `used` blocks mean anything.
    """

    start: Int[Array, "tokens"]  # rising
    end: Int[Array, "tokens"]
    own: Int[Array, "tokens"]
    prompt: Int[Array, "tokens"]
    prompt_end: Int[Array, "tokens"]
    query: Int[Array, "tokens"]  # rising
    used: Int[Array, ""]


def query_blocks(
    segment: Int[Array, "rows length"], branch: Int[Array, "rows length"], *, part: Array | int = 0, parts: int = 1
) -> Blocks:
    """Returns the blocks of rows whose segments each lie as [prompt chosen rejected]; padding is in none.

    Prompt and chosen lie next to each other and see one range of keys; the rejected completion sees two.

    Args:
        part: which part of every row the queries are that are here, where rows are cut into `parts` equal ones.
    """
    length = segment.shape[1]
    width = length // parts
    segment, branch = segment.reshape(-1), branch.reshape(-1)
    place = jnp.arange(segment.size)
    rejected = branch == 2
    new_segment = (place % length == 0) | (segment != jnp.roll(segment, 1))
    new_run = new_segment | (rejected != jnp.roll(rejected, 1))
    prompt = jax.lax.cummax(jnp.where(new_segment, place, 0))
    after_prompt = jnp.maximum(prompt, jax.lax.cummax(jnp.where(branch == 0, place + 1, 0)))
    own = jax.lax.cummax(jnp.where(new_run, place, 0))
    cut = new_run | (place % width == 0)
    next_cut = jnp.append(jnp.where(cut, place, place.size)[1:], place.size)
    end = jnp.minimum(jax.lax.cummin(next_cut, reverse=True), place + BLOCK)
    first = (segment > 0) & ((place - jax.lax.cummax(jnp.where(cut, place, 0))) % BLOCK == 0)
    first &= place % length // width == part
    order = jnp.argsort(~first, stable=True)
    query = place // length * width + place % width
    ranges = (place, end, own, prompt, jnp.where(rejected, after_prompt, prompt), query)
    return Blocks(*(x[order] for x in ranges), used=jnp.sum(first, dtype=jnp.int32))


@partial(jax.custom_vjp, nondiff_argnums=(4,))
def blockwise_attention(
    query: Float[Array, "rows part heads head_dim"],
    key: Float[Array, "rows length kv_heads head_dim"],
    value: Float[Array, "rows length kv_heads head_dim"],
    blocks: Blocks,
    config: Scores,
) -> Float[Array, "rows part heads head_dim"]:
    """Returns softmax(scale * query key^T) value over the keys each query sees, in the dtype of `query`.

    At padding it is finite and undefined.
    """
    return _forward(query, key, value, blocks, config)[0]


def _forward(
    query: jax.Array, key: jax.Array, value: jax.Array, blocks: Blocks, config: Scores
) -> tuple[jax.Array, tuple]:
    """The backward pass gets the inputs, what comes out, and the logarithm of each query's sum of exponentials."""
    queries, keys, values = _grouped(query * config.scale, key.shape[2]), _by_head(key), _by_head(value)
    kv_heads, group, _, head_dim = queries.shape
    product = partial(jnp.einsum, precision=config.precision, preferred_element_type=jnp.float32)

    def block(number: jax.Array, done: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        out, log_sum = done
        place = blocks.query[number]
        mine = _queries_at(queries, place)

        def step(at: jax.Array, seen: jax.Array, state: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
            highest, total, mixed = state
            capped = soft_cap(product("ksd,kqd->ksq", _keys_at(keys, at), mine), config.cap)
            scores = jnp.where(seen, capped, MASKED)
            higher = jnp.maximum(highest, jnp.max(scores, axis=1))
            weights, shrink = jnp.exp(scores - higher[:, None]), jnp.exp(highest - higher)
            more = product("ksq,ksd->kdq", weights.astype(values.dtype), _keys_at(values, at))
            return higher, total * shrink + jnp.sum(weights, axis=1), mixed * shrink[:, None] + more

        nothing = jnp.zeros((kv_heads, group * BLOCK), jnp.float32)
        empty = nothing + MASKED, nothing, jnp.zeros((kv_heads, head_dim, group * BLOCK), jnp.float32)
        highest, total, mixed = _over_keys(blocks, number, group, config.window, step, empty)
        out = _write(out, jnp.swapaxes(mixed / total[:, None], 1, 2), place)
        return out, _write(log_sum, highest + jnp.log(total), place)

    empty = jnp.zeros_like(queries), jnp.zeros(queries.shape[:-1], jnp.float32)
    out, log_sum = jax.lax.fori_loop(0, blocks.used, block, empty)
    out = _by_token(out, query.shape)
    return out, (query, key, value, blocks, out, log_sum)


def _backward(config: Scores, kept: tuple, d_out: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array, None]:
    """The gradient of a softmax p of scores s is ds = p (dp - sum p dp), and that sum is (out, d_out)."""
    query, key, value, blocks, out, log_sum = kept
    queries, keys, values = _grouped(query * config.scale, key.shape[2]), _by_head(key), _by_head(value)
    d_outs = _grouped(d_out, key.shape[2])
    inner = _grouped(jnp.sum(d_out * out, axis=-1, keepdims=True, dtype=jnp.float32), key.shape[2])[..., 0]
    kv_heads, group, _, head_dim = queries.shape
    product = partial(jnp.einsum, precision=config.precision, preferred_element_type=jnp.float32)

    def block(number: jax.Array, done: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        d_queries, *d_others = done
        start, place = blocks.start[number], blocks.query[number]
        mine, d_mine, inner_mine, log_mine = (_queries_at(x, place) for x in (queries, d_outs, inner, log_sum))
        # The places after the end belong to the next block. Here their weights are exp(-huge), which is 0.
        inside = jnp.tile(start + jnp.arange(BLOCK) < blocks.end[number], group)
        log_mine = jnp.where(inside, log_mine, -MASKED)

        def step(at: jax.Array, seen: jax.Array, state: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
            d_query, d_keys, d_values = state
            block_keys, block_values = _keys_at(keys, at), _keys_at(values, at)
            capped = soft_cap(product("ksd,kqd->ksq", block_keys, mine), config.cap)
            weights = jnp.exp(jnp.where(seen, capped, MASKED) - log_mine[:, None])
            d_scores = weights * (product("ksd,kqd->ksq", block_values, d_mine) - inner_mine[:, None])
            d_scores = times_slope(d_scores, capped, config.cap)
            weights, d_scores = weights.astype(query.dtype), d_scores.astype(query.dtype)
            d_query += product("ksq,ksd->kdq", d_scores, block_keys)
            d_keys = _add(d_keys, product("ksq,kqd->ksd", d_scores, mine), at)
            return d_query, d_keys, _add(d_values, product("ksq,kqd->ksd", weights, d_mine), at)

        nothing = jnp.zeros((kv_heads, head_dim, group * BLOCK), jnp.float32)
        d_query, *d_others = _over_keys(blocks, number, group, config.window, step, (nothing, *d_others))
        return _write(d_queries, jnp.swapaxes(d_query, 1, 2), place), *d_others

    empty = jnp.zeros_like(queries), *(jnp.zeros_like(x, jnp.float32) for x in (keys, values))
    d_queries, d_keys, d_values = jax.lax.fori_loop(0, blocks.used, block, empty)
    d_key, d_value = (_by_token(x[:, None], key.shape).astype(key.dtype) for x in (d_keys, d_values))
    return _by_token(d_queries, query.shape) * config.scale, d_key, d_value, None


blockwise_attention.defvjp(_forward, _backward)


def _over_keys(
    blocks: Blocks,
    number: jax.Array,
    group: int,
    window: int | None,
    step: Callable[[jax.Array, Bool[Array, "keys queries"], tuple[jax.Array, ...]], tuple[jax.Array, ...]],
    state: tuple[jax.Array, ...],
) -> Any:
    """Returns the state after `step` over every block of keys that a block of queries sees: prompt first, then its own.

    `step` gets the place of the first key and which keys are seen. Within either range positions rise with places; the
    positions of a rejected completion go on where the prompt ends, so that from there to its places there is a gap.
    """
    start, end, own, prompt, prompt_end = (x[number] for x in blocks[:5])
    gap = own - prompt_end
    if window is not None:
        own = jnp.maximum(own, start - window + 1)
        prompt = jnp.minimum(jnp.maximum(prompt, start - gap - window + 1), prompt_end)
    of_prompt, of_own = -(-(prompt_end - prompt) // BLOCK), -(-(end - own) // BLOCK)
    query = jnp.tile(start + jnp.arange(BLOCK), group)

    def one(at: jax.Array, state: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        in_prompt = at < of_prompt
        first = jnp.where(in_prompt, prompt + at * BLOCK, own + (at - of_prompt) * BLOCK)
        key = first + jnp.arange(BLOCK)
        seen = (key[:, None] <= query) & (key < jnp.where(in_prompt, prompt_end, end))[:, None]
        if window is not None:
            seen &= query - key[:, None] - jnp.where(in_prompt, gap, 0) < window
        return step(first, seen, state)

    return jax.lax.fori_loop(0, of_prompt + of_own, one, state)


def _by_head(x: Float[Array, "rows length kv_heads head_dim"]) -> Float[Array, "kv_heads tokens head_dim"]:
    """Tokens are followed by a block of zeros, as the last block may reach past them."""
    return jnp.pad(jnp.swapaxes(x.reshape(-1, *x.shape[2:]), 0, 1), ((0, 0), (0, BLOCK), (0, 0)))


def _grouped(
    x: Float[Array, "rows length heads head_dim"], kv_heads: int
) -> Float[Array, "kv_heads group tokens head_dim"]:
    by_head = _by_head(x)
    return by_head.reshape(kv_heads, -1, *by_head.shape[1:])


def _by_token(x: Float[Array, "kv_heads group tokens head_dim"], shape: tuple[int, ...]) -> jax.Array:
    """The way back to [rows length heads head_dim]."""
    heads_first = x.reshape(-1, *x.shape[2:])[:, : shape[0] * shape[1]]
    return jnp.swapaxes(heads_first, 0, 1).reshape(shape)


def _queries_at(x: Float[Array, "kv_heads group tokens ..."], start: jax.Array) -> jax.Array:
    """Returns a block of every group, the groups one after another: [kv_heads group*BLOCK ...]."""
    block = jax.lax.dynamic_slice_in_dim(x, start, BLOCK, axis=2)
    return block.reshape(x.shape[0], -1, *x.shape[3:])


def _write(x: Float[Array, "kv_heads group tokens ..."], block: jax.Array, start: jax.Array) -> jax.Array:
    """What is written past the end of a block is garbage until the next block, or nobody, reads it."""
    block = block.reshape(*x.shape[:2], BLOCK, *x.shape[3:]).astype(x.dtype)
    return jax.lax.dynamic_update_slice_in_dim(x, block, start, axis=2)


def _keys_at(x: Float[Array, "kv_heads tokens head_dim"], start: jax.Array) -> Float[Array, "kv_heads block head_dim"]:
    return jax.lax.dynamic_slice_in_dim(x, start, BLOCK, axis=1)


def _add(x: Float[Array, "kv_heads tokens head_dim"], block: jax.Array, start: jax.Array) -> jax.Array:
    return jax.lax.dynamic_update_slice_in_dim(x, _keys_at(x, start) + block, start, axis=1)


def _make(layout: RowLayout, scores: Scores, mesh: Mesh, sequences: int | None) -> LayerAttention:
    """Where rows are split along their length, a device has a part of the queries and gets the keys of whole rows."""
    parts = length_shards(mesh)

    def blocks(segment: jax.Array, branch: jax.Array, _: jax.Array) -> Blocks:
        part = jax.lax.axis_index(RULES["length"]) if parts > 1 else 0
        return query_blocks(segment, branch, part=part, parts=parts)

    def mix(query: jax.Array, key: jax.Array, value: jax.Array, blocks: Blocks) -> jax.Array:
        return blockwise_attention(query, key, value, blocks, scores)

    return on_each_device(layout, mesh, blocks, mix)


BLOCKWISE = Mechanism(_make, score_cap=True)
