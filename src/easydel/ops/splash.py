"""Attention on TPU: jax's splash kernel on plain causal sequences, which shared prompts are copied for.

The kernel compares two numbers of a query and of a key, their sequence and their slot, while it makes a block of
scores. So no mask is stored, and memory grows with the length of a row, not with its square; what does is one number
for every pair of blocks that says whether anyone sees anyone there.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int

from easydel.ops.mechanism import MASKED, LayerAttention, Mechanism, RowLayout, Scores, on_each_device
from easydel.ops.prompt_copies import Copies, copied, copy_prompts
from easydel.sharding import RULES, length_shards

MULTIPLE = 128  # tokens: the lanes of a TPU, of which a block is a multiple
_MAX_BLOCK = 512  # tokens of a block, if the queries divide into such
_KEPT = "splash_attention"


class Queries(NamedTuple):
    """The queries of rows that are here: each sees the slots of its `sequence` from `begin` to its own."""

    sequence: Int[Array, "rows length"]
    begin: Int[Array, "rows length"]
    slot: Int[Array, "rows length"]


def block_of(queries: int) -> int:
    """Returns the tokens of a block of that many queries, a multiple of `MULTIPLE`."""
    return next(size for size in (_MAX_BLOCK, 256, MULTIPLE) if queries % size == 0)


def seen_blocks(queries: Queries, slots: int, block: int) -> Bool[Array, "rows query_blocks key_blocks"]:
    """Returns in which pairs of blocks some query sees a slot."""
    last, each = queries.slot // block, jnp.arange(slots // block)
    seen = (queries.begin[..., None] // block <= each) & (each <= last[..., None])
    return jnp.any(seen.reshape(seen.shape[0], -1, block, each.size), axis=2)


def splash_attention(
    query: Float[Array, "rows length heads head_dim"],
    key: Float[Array, "rows slots kv_heads head_dim"],
    value: Float[Array, "rows slots kv_heads head_dim"],
    queries: Queries,
    sequence_of_slot: Int[Array, "rows slots"],
    *,
    scores: Scores,
    interpret: bool = False,
) -> Float[Array, "rows length heads head_dim"]:
    """Returns softmax(scale * query key^T) value over the slots each query sees, one row after another.

    Length and slots must be multiples of `block_of(length)`. `interpret` runs the kernel where there is no TPU, slowly.
    """
    # Pallas is a second of imports, and nobody else needs it.
    from jax.experimental.pallas.ops.tpu.splash_attention import BlockSizes, SegmentIds
    from jax.experimental.pallas.ops.tpu.splash_attention.splash_attention_kernel import SplashAttentionKernel
    from jax.experimental.pallas.ops.tpu.splash_attention.splash_attention_mask_info import MaskInfo

    block = block_of(query.shape[1])
    sizes = BlockSizes(
        block_q=block, block_kv=block, block_q_dkv=block, block_kv_dkv=block, block_q_dq=block, block_kv_dq=block
    )

    def one_row(inputs: tuple[Any, ...]) -> jax.Array:
        *row, mine, sequence_of_slot, seen = inputs
        there = seen[None].astype(jnp.int32)  # one for all heads
        by_query, by_key = (MaskInfo(x[None], None, there, None, mine.slot) for x in (_next(seen), _next(seen.T).T))
        kernel = SplashAttentionKernel(
            by_query,
            by_query,
            by_key,
            block_sizes=sizes,
            is_mqa=False,
            save_residuals=False,
            mask_value=MASKED,
            attn_logits_soft_cap=scores.cap,
            residual_checkpoint_name=_KEPT,
            mask_function=partial(_seen, window=scores.window),
            interpret=interpret,
        )
        query, key, value = (jnp.swapaxes(x, 0, 1) for x in row)
        scaled = (query.astype(jnp.float32) * scores.scale).astype(query.dtype)
        out: Any = kernel(scaled, key, value, SegmentIds(mine.sequence, sequence_of_slot))  # no residuals: an array
        return jnp.swapaxes(out, 0, 1)

    seen = seen_blocks(queries, key.shape[1], block)
    return jax.lax.map(one_row, (query, key, value, queries, sequence_of_slot, seen))


def _seen(slot: jax.Array, key: jax.Array, *, window: int | None) -> jax.Array:
    """Returns whether a slot sees another of its sequence."""
    return slot >= key if window is None else (slot >= key) & (slot - key < window)


def _next(seen: Bool[Array, "rows columns"]) -> Int[Array, "rows columns"]:
    """Returns the column of the pair that is computed next, or is being computed, and so fetched, row after row."""
    rows, columns = seen.shape
    pairs = jnp.where(seen.reshape(-1), jnp.arange(rows * columns), rows * columns)
    after = jax.lax.cummin(pairs, reverse=True)
    last = jnp.max(jnp.where(seen.reshape(-1), pairs, 0))
    return (jnp.minimum(after, last) % columns).reshape(seen.shape).astype(jnp.int32)


def _make(layout: RowLayout, scores: Scores, mesh: Mesh, sequences: int | None) -> LayerAttention:
    """Where rows are split along their length, a device has a part of the queries and gets the keys of whole rows."""
    parts = length_shards(mesh)
    interpret = mesh.devices.flat[0].platform != "tpu"  # in tests: elsewhere `resolve_mechanism` refuses it

    def prepare(segment: jax.Array, branch: jax.Array, _: jax.Array) -> tuple[Copies, Queries]:
        part = segment.shape[1] // parts
        width = part + -part % MULTIPLE
        copies = copy_prompts(segment, branch, -(-2 * segment.shape[1] // block_of(width)) * block_of(width))
        own = Queries(copies.sequence, _first_seen(copies, scores.window), copies.first)
        at = jax.lax.axis_index(RULES["length"]) * part if parts > 1 else 0
        here = partial(jax.lax.dynamic_slice_in_dim, start_index=at, slice_size=part, axis=1)
        # What is added repeats the last query.
        return copies, jax.tree.map(lambda x: jnp.pad(here(x), ((0, 0), (0, width - part)), mode="edge"), own)

    def mix(query: jax.Array, key: jax.Array, value: jax.Array, ready: tuple[Copies, Queries]) -> jax.Array:
        copies, queries = ready
        padded = jnp.pad(query, ((0, 0), (0, queries.slot.shape[1] - query.shape[1]), (0, 0), (0, 0)))
        keys = copied(key, copies), copied(value, copies)
        out = splash_attention(padded, *keys, queries, copies.sequence_of_slot, scores=scores, interpret=interpret)
        return out[:, : query.shape[1]]

    # The copies are made again for the gradient, while what the kernel says is kept: the layer needs it anyway.
    kept = jax.checkpoint_policies.save_only_these_names(_KEPT)
    return on_each_device(layout, mesh, prepare, jax.checkpoint(mix, policy=kept))


def _first_seen(copies: Copies, window: int | None) -> jax.Array:
    """Returns the first slot that a token sees."""
    return copies.begin if window is None else jnp.maximum(copies.begin, copies.first - window + 1)


SPLASH = Mechanism(_make, platform="tpu", dtypes=("bfloat16",), score_cap=True)
