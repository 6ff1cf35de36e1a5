"""Shared prompts copied, so that every token of a packed row sees one unbroken range of slots.

A segment that lies as [prompt chosen rejected] becomes [prompt chosen] and [prompt rejected], one after another in the
same row. Both are plain causal sequences, windows too, which is what kernels know how to skip blocks of. A row of n
tokens needs less than 2 n slots.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Shaped


class Copies(NamedTuple):
    """Where the tokens of rows go. A token of padding is a sequence of its own, after those before it.

    Attributes:
        source: the place in its row of the token in a slot; -1: none.
        first: the slot of a token.
        second: the slot of its copy; -1: none.
        begin: the slot in which the sequence of a token begins, as what stands in its first slot sees it.
        sequence: a number that those tokens of a row share which may see each other: twice the segment, and one more
            for a rejected completion.
        sequence_of_slot: the same, the copy of a prompt in that of its rejected completion; -1 where no token is.
    """

    source: Int[Array, "rows slots"]
    first: Int[Array, "rows length"]
    second: Int[Array, "rows length"]
    begin: Int[Array, "rows length"]
    sequence: Int[Array, "rows length"]
    sequence_of_slot: Int[Array, "rows slots"]


def copy_prompts(segment: Int[Array, "rows length"], branch: Int[Array, "rows length"], slots: int) -> Copies:
    """Returns where the tokens of rows go whose segments each lie as [prompt chosen rejected].

    Args:
        slots: of each row, at least twice its length.
    """
    return jax.vmap(lambda *row: _of_row(*row, slots=slots))(segment, branch)


def _of_row(segment: jax.Array, branch: jax.Array, *, slots: int) -> Copies:
    place = jnp.arange(segment.size)
    new_segment = (place == 0) | (segment != jnp.roll(segment, 1)) | (segment == 0)
    new_branch = new_segment | (branch != jnp.roll(branch, 1))
    start = jax.lax.cummax(jnp.where(new_segment, place, 0))
    # Of a completion: where its prompt ends, which is the start of its segment where it has none.
    prompt_end = jnp.maximum(start, jax.lax.cummax(jnp.where(branch == 0, place + 1, 0)))
    rejected = (branch == 2) & (segment > 0)
    begins = rejected & new_branch
    first = place + jnp.cumsum(jnp.where(begins, prompt_end - start, 0))
    next_rejected = jax.lax.cummin(jnp.where(begins, place, segment.size), reverse=True)
    at = jnp.minimum(next_rejected, segment.size - 1)
    shared = (branch == 0) & (segment > 0) & (next_rejected < segment.size) & (segment[at] == segment)
    own_start = jax.lax.cummax(jnp.where(begins, first - (prompt_end - start), 0))
    second = jnp.where(shared, own_start[at] + place - start, -1)
    sequence = 2 * segment + rejected.astype(segment.dtype)
    source, sequence_of_slot = (
        jnp.full(slots, -1).at[first].set(x).at[jnp.where(shared, second, slots)].set(copy, mode="drop")
        for x, copy in ((place, place), (sequence, sequence + 1))
    )
    begin = jnp.where(rejected, own_start, first[start])
    return Copies(source, first, second, begin, sequence, sequence_of_slot)


# Written with its gradient, so that each way is a read: the gradient of a read would be a sum into places.
@jax.custom_vjp
def copied(x: Shaped[Array, "rows length ..."], copies: Copies) -> Shaped[Array, "rows slots ..."]:
    """Returns the tokens in their slots, 0 where no token is."""
    return read(x, copies.source)


def read(x: Shaped[Array, "rows from ..."], at: Int[Array, "rows to"]) -> Shaped[Array, "rows to ..."]:
    """Returns what stands in these places of each row, 0 where one is -1, whatever stands elsewhere."""
    there = (at >= 0).reshape(*at.shape, *[1] * (x.ndim - 2))
    return jnp.where(there, jax.vmap(lambda row, at: row[at])(x, jnp.maximum(at, 0)), 0)


def _copied(x: jax.Array, copies: Copies) -> tuple[jax.Array, Copies]:
    return copied(x, copies), copies


def _copied_backward(copies: Copies, d_out: jax.Array) -> tuple[jax.Array, None]:
    return read(d_out, copies.first) + read(d_out, copies.second), None


copied.defvjp(_copied, _copied_backward)
