"""The grouped product on GPUs, as kernels in Triton: `ragged_dot` becomes a dense product with every group there.

Each program of a kernel computes one tile. What it reads beyond an array or a group is 0, so that no size has to
divide. Written without a GPU at hand: interpreted against `ragged_dot` in the tests, and compiled, but not timed.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

_TILE = 128  # columns, and rows of a weight, that a program computes
_DEPTH = 64  # of a product, at a time


def product_of_blocks(
    x: Float[Array, "rows deep"],
    weights: Float[Array, "groups in out"],
    blocks: tuple[Int[Array, "blocks"], Int[Array, "blocks"], Int[Array, "blocks"]],
    *,
    size: int,
    turned: bool,
    precision: str | None,
    interpret: bool,
) -> Float[Array, "rows wide"]:
    """Returns x[i] @ weights[group of i] for the rows of some blocks, in the dtype of `x`; others are undefined.

    Args:
        blocks: the group of each, its first row, and the row behind its last.
        size: the most rows of a block, a power of two from 16 on.
        turned: takes the transposes of the weights.
        interpret: runs the kernel where there is no GPU, slowly.
    """
    wide, deep = weights.shape[1:] if turned else weights.shape[:0:-1]
    padded = jnp.pad(x, ((0, size), (0, 0)))  # the last block may reach past the rows
    kernel = partial(_product, precision, size=size, turned=turned, deep=deep, wide=wide)
    form = jax.ShapeDtypeStruct((padded.shape[0], wide), x.dtype)
    return _call(kernel, (blocks[0].size, -(-wide // _TILE)), form, interpret)(*blocks, padded, weights)[: x.shape[0]]


def products_of_groups(
    x: Float[Array, "rows embed"],
    y: Float[Array, "rows mlp"],
    starts: Int[Array, "groups"],
    ends: Int[Array, "groups"],
    *,
    dtype: jax.typing.DTypeLike,
    precision: str | None,
    interpret: bool,
) -> Float[Array, "groups embed mlp"]:
    """Returns x^T y of the rows of each group, summed in float32: 0 for a group without any."""
    x, y = (jnp.pad(each, ((0, _DEPTH), (0, 0))) for each in (x, y))
    sizes = x.shape[1], y.shape[1]
    grid = starts.size, *(-(-size // _TILE) for size in sizes)
    form = jax.ShapeDtypeStruct((starts.size, *sizes), dtype)
    return _call(partial(_gradient, precision, sizes=sizes), grid, form, interpret)(starts, ends, x, y)


def _call(kernel: Any, grid: tuple[int, ...], form: jax.ShapeDtypeStruct, interpret: bool) -> Any:
    # Pallas is a second of imports, and nobody else needs it.
    from jax.experimental import pallas as pl
    from jax.experimental.pallas import triton

    options = triton.CompilerParams(num_warps=8, num_stages=3)
    return pl.pallas_call(kernel, grid=grid, out_shape=form, compiler_params=options, interpret=interpret)


def _product(precision: str | None, *refs: Any, size: int, turned: bool, deep: int, wide: int) -> None:
    from jax.experimental import pallas as pl
    from jax.experimental.pallas import triton

    group, start, end, x, weights, out = refs
    number, column = pl.program_id(0), pl.program_id(1)
    mine, first, last = group[number], start[number], end[number]
    rows, columns = pl.ds(first, size), pl.ds(column * _TILE, _TILE)
    of_row = first + jnp.arange(size) < last
    of_column = column * _TILE + jnp.arange(_TILE) < wide

    def add(step: jax.Array, total: jax.Array) -> jax.Array:
        at = pl.ds(step * _DEPTH, _DEPTH)
        there = step * _DEPTH + jnp.arange(_DEPTH) < deep
        left = triton.load(x.at[rows, at], mask=of_row[:, None] & there[None], other=0.0)
        place, mask = ((columns, at), of_column[:, None] & there[None])
        if not turned:
            place, mask = (at, columns), there[:, None] & of_column[None]
        right = triton.load(weights.at[mine, *place], mask=mask, other=0.0)
        return total + triton.dot(left, right, trans_b=turned, precision=precision)

    steps = jnp.clip(last - first, 0, 1) * -(-deep // _DEPTH)  # none for a block that no group has
    total = jax.lax.fori_loop(0, steps, add, jnp.zeros((size, _TILE), jnp.float32))
    triton.store(out.at[rows, columns], total.astype(out.dtype), mask=of_row[:, None] & of_column[None])


def _gradient(precision: str | None, *refs: Any, sizes: tuple[int, int]) -> None:
    from jax.experimental import pallas as pl
    from jax.experimental.pallas import triton

    starts, ends, x, y, out = refs
    mine, *tile = (pl.program_id(axis) for axis in range(3))
    first, last = starts[mine], ends[mine]
    places = [pl.ds(at * _TILE, _TILE) for at in tile]
    masks = [at * _TILE + jnp.arange(_TILE) < size for at, size in zip(tile, sizes, strict=True)]

    def add(step: jax.Array, total: jax.Array) -> jax.Array:
        at = first + step * _DEPTH
        there = (at + jnp.arange(_DEPTH) < last)[:, None]
        left, right = (
            triton.load(each.at[pl.ds(at, _DEPTH), place], mask=there & mask[None], other=0.0)
            for each, place, mask in zip((x, y), places, masks, strict=True)
        )
        return total + triton.dot(left, right, trans_a=True, precision=precision)

    steps = (last - first + _DEPTH - 1) // _DEPTH
    total = jax.lax.fori_loop(0, steps, add, jnp.zeros((_TILE, _TILE), jnp.float32))
    triton.store(out.at[mine, *places], total.astype(out.dtype), mask=masks[0][:, None] & masks[1][None])
