"""Attention on TPU: jax's splash kernel, which skips the blocks of scores that the layout of a row leaves empty."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float

from easydel.ops.mechanism import LayerAttention, Mechanism, RowLayout, Scores, on_each_device
from easydel.ops.visible import visible

MULTIPLE = 128  # tokens: the lanes of a TPU, of which a block is a multiple
_MAX_BLOCK = 512  # tokens of a block, if the row divides into such


def splash_attention(
    query: Float[Array, "rows length heads head_dim"],
    key: Float[Array, "rows length kv_heads head_dim"],
    value: Float[Array, "rows length kv_heads head_dim"],
    mask: Bool[Array, "rows length length"],
    *,
    scale: float,
    score_cap: float | None,
    interpret: bool = False,
) -> Float[Array, "rows length heads head_dim"]:
    """Returns softmax(scale * query key^T) value over the keys that `mask` allows, one row after another.

    The length must be a multiple of `MULTIPLE`, and each query must see a key. The backward pass begins with query, key
    and value. `interpret` runs the kernel where there is no TPU, slowly.
    """
    # Pallas is a second of imports, and nobody else needs it.
    from jax.experimental.pallas.ops.tpu.splash_attention import BlockSizes, make_splash_mha

    length = query.shape[1]
    block = next(size for size in (_MAX_BLOCK, 256, MULTIPLE) if length % size == 0)
    sizes = BlockSizes(
        block_q=block, block_kv=block, block_q_dkv=block, block_kv_dkv=block, block_q_dq=block, block_kv_dq=block
    )

    def one_row(inputs: tuple[jax.Array, ...]) -> jax.Array:
        *row, seen = inputs
        # The kernel turns a flag of its own into an array and asks for its truth, which a constant has and a trace not.
        with jax.ensure_compile_time_eval():
            kernel = make_splash_mha(
                seen[None],  # one mask for all heads
                block_sizes=sizes,
                attn_logits_soft_cap=score_cap,
                head_shards=1,
                q_seq_shards=1,
                interpret=interpret,
            )
        query, key, value = (jnp.swapaxes(x, 0, 1) for x in row)
        scaled = (query.astype(jnp.float32) * scale).astype(query.dtype)
        out: Any = kernel(scaled, key, value)  # no residuals were asked for: an array
        return jnp.swapaxes(out, 0, 1)

    return jax.lax.map(jax.checkpoint(one_row), (query, key, value, mask))


def _make(layout: RowLayout, scores: Scores, mesh: Mesh, sequences: int | None) -> LayerAttention:
    padding = (0, 0), (0, -layout[0].shape[1] % MULTIPLE)
    interpret = mesh.devices.flat[0].platform != "tpu"  # in tests: elsewhere `resolve_mechanism` refuses it

    def mask(*layout: jax.Array) -> jax.Array:
        segment, branch, position = (jnp.pad(x, padding) for x in layout)
        return visible(segment, branch, position, scores.window)

    def mix(query: jax.Array, key: jax.Array, value: jax.Array, mask: jax.Array) -> jax.Array:
        query_, key_, value_ = (jnp.pad(x, (*padding, (0, 0), (0, 0))) for x in (query, key, value))
        out = splash_attention(
            query_, key_, value_, mask, scale=scores.scale, score_cap=scores.cap, interpret=interpret
        )
        return out[:, : query.shape[1]]

    return on_each_device(layout, mesh, mask, mix)


SPLASH = Mechanism(_make, platform="tpu", dtypes=("bfloat16",), score_cap=True, whole_rows=True)
