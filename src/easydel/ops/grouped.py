"""A matrix product in which every group of rows has a matrix of its own, as tokens have that were sent to experts.

`jax.lax.ragged_dot` is that product where the hardware has it; on CPU XLA makes it as many dense products as there are
groups. There it is done here in blocks of rows, each with the matrix of its group; how many blocks there are is known
once the groups are, so the loops end there, and the gradient is written by hand, as in `easydel.ops.blockwise`.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

BLOCK = 64  # rows


class Groups(NamedTuple):
    """Rows that belong together lie one after another, group 0 first; rows behind the last group belong to none.

    A block holds the rows of one group from `start` to `end`, at most BLOCK of them. Only the first `used` blocks mean
    anything.
    """

    sizes: Int[Array, "groups"]
    start: Int[Array, "blocks"]  # rising
    end: Int[Array, "blocks"]
    group: Int[Array, "blocks"]
    used: Int[Array, ""]


def make_groups(sizes: Int[Array, "groups"], rows: int) -> Groups:
    """Returns the groups of `sizes` rows each, among `rows` in all."""
    max_blocks = rows // BLOCK + sizes.shape[0]  # every group may end in a block that is not full
    blocks = (sizes + BLOCK - 1) // BLOCK
    first = jnp.cumsum(blocks) - blocks
    number = jnp.arange(max_blocks)
    group = jnp.clip(jnp.searchsorted(first, number, side="right") - 1, 0, sizes.shape[0] - 1)
    ends = jnp.cumsum(sizes)
    start = (ends - sizes)[group] + (number - first[group]) * BLOCK
    return Groups(sizes, start, jnp.minimum(start + BLOCK, ends[group]), group, jnp.sum(blocks))


def grouped_product(
    x: Float[Array, "rows embed"],
    weights: Float[Array, "groups embed mlp"],
    groups: Groups,
    *,
    platform: str,
    precision: str | None = None,
) -> Float[Array, "rows mlp"]:
    """Returns x[i] @ weights[group of i], in the dtype of `x`; rows of no group are undefined.

    `precision` as in `jax.lax.Precision`: an argument, because the backward pass is traced outside of any context.
    """
    if platform == "cpu":
        return _product(precision, x, weights, groups)
    return jax.lax.ragged_dot(x, weights, groups.sizes, precision=precision, preferred_element_type=jnp.float32).astype(
        x.dtype
    )


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _product(precision: str | None, x: jax.Array, weights: jax.Array, groups: Groups) -> jax.Array:
    return _forward(precision, x, weights, groups)[0]


def _forward(precision: str | None, *given: Any) -> tuple[jax.Array, tuple]:
    return _by_blocks(precision, *given, pattern="be,em->bm"), given


def _backward(
    precision: str | None, kept: tuple[jax.Array, jax.Array, Groups], d_out: jax.Array
) -> tuple[jax.Array, jax.Array, None]:
    x, weights, groups = kept
    d_x = _by_blocks(precision, d_out, weights, groups, "bm,em->be")
    x, d_out = _padded(x), _padded(d_out)

    def block(number: jax.Array, d_weights: jax.Array) -> jax.Array:
        start, group = groups.start[number], groups.group[number]
        inside = (start + jnp.arange(BLOCK) < groups.end[number])[:, None]
        mine, theirs = (jnp.where(inside, jax.lax.dynamic_slice_in_dim(y, start, BLOCK), 0) for y in (x, d_out))
        more = jnp.einsum("be,bm->em", mine, theirs, precision=precision, preferred_element_type=jnp.float32)
        return d_weights.at[group].add(more)

    d_weights = jax.lax.fori_loop(0, groups.used, block, jnp.zeros(weights.shape, jnp.float32))
    return d_x, d_weights.astype(weights.dtype), None


_product.defvjp(_forward, _backward)


def _by_blocks(precision: str | None, x: jax.Array, weights: jax.Array, groups: Groups, pattern: str) -> jax.Array:
    """Blocks are written in rising order: what one writes past its end the next one writes again."""
    rows, padded = x.shape[0], _padded(x)
    product = partial(jnp.einsum, pattern, precision=precision, preferred_element_type=jnp.float32)
    width = jax.eval_shape(product, padded[:BLOCK], weights[0]).shape[1]

    def block(number: jax.Array, out: jax.Array) -> jax.Array:
        start = groups.start[number]
        mine = product(jax.lax.dynamic_slice_in_dim(padded, start, BLOCK), weights[groups.group[number]])
        return jax.lax.dynamic_update_slice_in_dim(out, mine.astype(out.dtype), start, axis=0)

    out = jnp.zeros((padded.shape[0], width), x.dtype)
    return jax.lax.fori_loop(0, groups.used, block, out)[:rows]


def _padded(x: jax.Array) -> jax.Array:
    """Returns the rows followed by a block of zeros, as the last block may reach past them."""
    return jnp.pad(x, ((0, BLOCK), (0, 0)))
