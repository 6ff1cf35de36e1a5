"""Functions of single tokens, on all positions at once or chunk by chunk up to where the tokens end.

All of a decoder but attention looks at one token at a time. On CPU a loop over chunks has three uses: it ends with the
tokens, so that one compiled shape serves batches of any length and padding costs nothing; what a chunk needs on its way
stays in the cache of the processor; and the backward pass computes a chunk again rather than keep it for all tokens.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Int, PyTree

# (weights, what has no gradient, what has one) -> values; leaves but those of weights have tokens on their first axis
# or their first two.
TokenFunction = Callable[[Any, Any, Any], Any]


# (function of single tokens, weights, what has no gradient, what has one) -> its values: how it is applied to rows.
PerToken = Callable[[TokenFunction, Any, Any, Any], Any]


def at_once(function: TokenFunction, weights: Any, fixed: Any, x: Any) -> Any:
    """Returns `function` of all positions, padding too."""
    return function(weights, fixed, x)


def in_chunks(chunk: int, end: Int[Array, ""]) -> PerToken:
    """Returns what applies a function to `chunk` positions at a time, to those before `end`; the others become 0.

    Positions are counted through all rows, one after another, and the function gets them on one axis: with an axis of
    rows beside it, XLA would turn one factor of each gradient of a matrix. The backward pass calls it again.
    """

    def apply(function: TokenFunction, weights: Any, fixed: Any, x: Any) -> Any:
        rows, length = jax.tree.leaves(x)[0].shape[:2]
        size = min(chunk, rows * length)
        padding = -(rows * length) % size

        def laid_out(leaf: jax.Array) -> jax.Array:
            flat = leaf.reshape(1, -1, *leaf.shape[2:])
            return jnp.pad(flat, ((0, 0), (0, padding), *((0, 0) for _ in flat.shape[2:]))) if padding else flat

        out = _in_chunks(function, size, end, weights, jax.tree.map(laid_out, fixed), jax.tree.map(laid_out, x))
        return jax.tree.map(lambda leaf: leaf[:, : rows * length].reshape(rows, length, *leaf.shape[2:]), out)

    return apply


def end_of_tokens(segment: Int[Array, "rows length"]) -> Int[Array, ""]:
    """Returns the place after the last token, positions of all rows counted one after another.

    >>> int(end_of_tokens(jnp.array([[1, 1, 0], [1, 0, 0]])))
    4
    """
    flat = segment.reshape(-1)
    return jnp.max(jnp.where(flat > 0, jnp.arange(1, flat.size + 1), 0))


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _in_chunks(function: TokenFunction, chunk: int, end: Array, weights: PyTree, fixed: PyTree, x: PyTree) -> PyTree:
    slots = jax.tree.leaves(x)[0].shape[1]
    one = jax.eval_shape(function, weights, *_cut((fixed, x), jnp.asarray(0), chunk))
    nothing = jax.tree.map(lambda like: jnp.zeros((1, slots, *like.shape[1:]), like.dtype), one)

    def add_chunk(number: jax.Array, done: PyTree) -> PyTree:
        start = number * chunk
        return _put(done, function(weights, *_cut((fixed, x), start, chunk)), start)

    return jax.lax.fori_loop(0, -(-end // chunk), add_chunk, nothing)


class _Kept(NamedTuple):
    """What the backward pass gets. What is asked for the gradient of stands in `trained`, the rest in `frozen`."""

    end: Array
    fixed: PyTree
    trained: PyTree  # (weights, x), None where frozen
    frozen: PyTree  # (weights, x), None where trained


def _forward(
    function: TokenFunction, chunk: int, end: Any, weights: PyTree, fixed: PyTree, x: PyTree
) -> tuple[PyTree, _Kept]:
    """Takes leaves that say whether their gradient is asked for: frozen weights may be quantized, and cost nothing."""
    end, fixed = jax.tree.map(lambda leaf: leaf.value, (end, fixed))
    trained = jax.tree.map(lambda leaf: leaf.value if leaf.perturbed else None, (weights, x))
    frozen = jax.tree.map(lambda leaf: None if leaf.perturbed else leaf.value, (weights, x))
    weights, x = _joined(trained, frozen)
    return _in_chunks(function, chunk, end, weights, fixed, x), _Kept(end, fixed, trained, frozen)


def _backward(function: TokenFunction, chunk: int, kept: _Kept, cotangent: PyTree) -> tuple[Any, ...]:
    weights, x = kept.trained
    cotangent = jax.tree.map(_filled_in, cotangent, is_leaf=lambda leaf: isinstance(leaf, SymbolicZero))

    def add_chunk(number: jax.Array, done: tuple[PyTree, PyTree]) -> tuple[PyTree, PyTree]:
        d_weights, d_x = done
        start = number * chunk
        here, mine, others = _cut((kept.fixed, x, kept.frozen[1]), start, chunk)

        def one(weights: PyTree, mine: PyTree) -> PyTree:
            weights, mine = _joined((weights, mine), (kept.frozen[0], others))
            return function(weights, here, mine)

        _, gradient = jax.vjp(one, weights, mine)
        more, d_mine = gradient(_cut(cotangent, start, chunk))
        d_weights = jax.tree.map(lambda total, part: total + part.astype(total.dtype), d_weights, more)
        return d_weights, _put(d_x, d_mine, start)

    # float32 whatever the weights are: small gradients added in bfloat16 are lost.
    zeros = jax.tree.map(lambda w: jnp.zeros(w.shape, jnp.float32), weights), jax.tree.map(jnp.zeros_like, x)
    d_weights, d_x = jax.lax.fori_loop(0, -(-kept.end // chunk), add_chunk, zeros)
    return None, jax.tree.map(lambda total, w: total.astype(w.dtype), d_weights, weights), None, d_x


_in_chunks.defvjp(_forward, _backward, symbolic_zeros=True)


def _joined(trained: Any, frozen: Any) -> Any:
    """Returns one tree of the leaves of two, each of which has None where the other has a leaf."""
    return jax.tree.map(lambda a, b: b if a is None else a, trained, frozen, is_leaf=lambda leaf: leaf is None)


def _filled_in(leaf: Any) -> Any:
    if not isinstance(leaf, SymbolicZero):
        return leaf
    like: Any = leaf.aval
    return jnp.zeros(like.shape, like.dtype)


def _cut(tree: Any, start: jax.Array, chunk: int) -> Any:
    return jax.tree.map(lambda leaf: jax.lax.dynamic_slice_in_dim(leaf[0], start, chunk), tree)


def _put(tree: Any, part: Any, start: jax.Array) -> Any:
    return jax.tree.map(
        lambda leaf, chunk: jax.lax.dynamic_update_slice_in_dim(leaf, chunk[None], start, axis=1), tree, part
    )
