"""Attention on TPU: jax's splash kernel, which skips the blocks of scores that the layout of a row leaves empty."""

import jax
import jax.numpy as jnp
from jax.experimental.pallas.ops.tpu.splash_attention import BlockSizes, make_splash_mha
from jaxtyping import Array, Bool, Float

MULTIPLE = 128  # tokens: the lanes of a TPU, of which a block is a multiple
_LARGEST = 512  # tokens of a block, if the row divides into such


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
    length = query.shape[1]
    block = next(size for size in (_LARGEST, 256, MULTIPLE) if length % size == 0)
    sizes = BlockSizes(
        block_q=block,
        block_kv=block,
        block_q_dkv=block,
        block_kv_dkv=block,
        block_q_dq=block,
        block_kv_dq=block,
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
        return jnp.swapaxes(kernel(scaled, key, value), 0, 1)

    return jax.lax.map(jax.checkpoint(one_row), (query, key, value, mask))
