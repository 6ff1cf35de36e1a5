"""A matrix product in which every group of rows has a matrix of its own, as tokens have that were sent to experts.

`jax.lax.ragged_dot` is that product on TPU. Of its gradient by the matrices XLA makes a dense product with every group,
as it does on GPU and CPU of all three: 64 experts, 64 times the work. So on TPU the one is jax's kernel, on GPU all are
ours (`easydel.ops.grouped_gpu`), and on CPU it is done here in blocks of rows, each with the matrix of its group; how
many blocks there are is known once the groups are, so the loops end there. The gradient is written by hand.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from easydel.ops.grouped_gpu import product_of_blocks, products_of_groups
from easydel.ops.mechanism import in_precision

BLOCK = 64  # rows
_TPU_TILE = 128, 512, 512  # rows of groups, rows and columns of a matrix: the first is what a TPU multiplies at a time


class _How(NamedTuple):
    """How the product is computed: static."""

    platform: str
    precision: str | None
    interpret: bool


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
    interpret: bool = False,
) -> Float[Array, "rows mlp"]:
    """Returns x[i] @ weights[group of i], in the dtype of `x`; rows of no group are undefined.

    Args:
        platform: of the devices, as jax calls it.
        precision: as in `jax.lax.Precision`: an argument, because the backward pass is traced outside of any context.
        interpret: runs the kernels of a platform where it is not, slowly.
    """
    return _product(_How(platform, precision, interpret), x, weights, groups)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _product(how: _How, x: jax.Array, weights: jax.Array, groups: Groups) -> jax.Array:
    return _forward(how, x, weights, groups)[0]


def _forward(how: _How, *given: Any) -> tuple[jax.Array, tuple]:
    return _by_rows(how, *given, turned=False), given


def _backward(
    how: _How, kept: tuple[jax.Array, jax.Array, Groups], d_out: jax.Array
) -> tuple[jax.Array, jax.Array, None]:
    x, weights, groups = kept
    return _by_rows(how, d_out, weights, groups, turned=True), _by_groups(how, x, d_out, groups, weights.dtype), None


_product.defvjp(_forward, _backward)


def _by_rows(how: _How, x: jax.Array, weights: jax.Array, groups: Groups, *, turned: bool) -> jax.Array:
    """Returns x[i] @ weights[group of i], or its transpose."""
    precision = how.precision
    if how.platform == "cpu":
        return _by_blocks(precision, x, weights, groups, "bm,em->be" if turned else "be,em->bm")
    if how.platform == "gpu":
        blocks, options = (groups.group, groups.start, groups.end), {"precision": precision, "interpret": how.interpret}
        out = product_of_blocks(x, weights, blocks, size=BLOCK, turned=turned, **options)
        # Nothing was written to rows of no group: what is there may be nan, and a gradient is summed over all rows.
        return jnp.where(jnp.arange(x.shape[0])[:, None] < jnp.sum(groups.sizes), out, 0)
    weights = jnp.swapaxes(weights, 1, 2) if turned else weights
    out = jax.lax.ragged_dot(x, weights, groups.sizes, precision=precision, preferred_element_type=jnp.float32)
    return out.astype(x.dtype)


def _by_groups(how: _How, x: jax.Array, y: jax.Array, groups: Groups, dtype: Any) -> Float[Array, "groups embed mlp"]:
    """Returns x^T y of the rows of each group, summed in float32."""
    if how.platform == "gpu":
        ends = jnp.cumsum(groups.sizes)
        options = {"dtype": dtype, "precision": how.precision, "interpret": how.interpret}
        return products_of_groups(x, y, ends - groups.sizes, ends, **options)
    if how.platform == "tpu":
        # Pallas is a second of imports, and nobody else needs it.
        from jax.experimental.pallas.ops.tpu.megablox.gmm import tgmm

        x, y = (jnp.pad(each, ((0, -each.shape[0] % _TPU_TILE[0]), (0, 0))) for each in (x, y))
        tile = _TPU_TILE[0], min(_TPU_TILE[1], x.shape[1]), min(_TPU_TILE[2], y.shape[1])
        with in_precision(how.precision):
            return tgmm(x.T, y, groups.sizes.astype(jnp.int32), dtype, tile, interpret=how.interpret)
    return _sums_of_blocks(how.precision, x, y, groups).astype(dtype)


def _sums_of_blocks(precision: str | None, x: jax.Array, d_out: jax.Array, groups: Groups) -> jax.Array:
    shape = groups.sizes.size, x.shape[1], d_out.shape[1]
    x, d_out = _padded(x), _padded(d_out)

    def block(number: jax.Array, d_weights: jax.Array) -> jax.Array:
        start, group = groups.start[number], groups.group[number]
        inside = (start + jnp.arange(BLOCK) < groups.end[number])[:, None]
        mine, theirs = (jnp.where(inside, jax.lax.dynamic_slice_in_dim(y, start, BLOCK), 0) for y in (x, d_out))
        more = jnp.einsum("be,bm->em", mine, theirs, precision=precision, preferred_element_type=jnp.float32)
        return d_weights.at[group].add(more)

    return jax.lax.fori_loop(0, groups.used, block, jnp.zeros(shape, jnp.float32))


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
