"""Linear recurrences over packed rows, a chunk of tokens at a time: with the gated delta rule, and without it.

A head keeps a state S [key, value], and each token with key k, value v, decay a = exp(g) and rate b makes of it

    S' = a S + b k (v - a S^T k)^T        with the delta rule (Gated DeltaNet, arXiv 2412.06464, eq. 10)
    S' = a S + k v^T                      without (Mamba-2, arXiv 2405.21060, eq. 16)

and reads `S'^T q`. Within a chunk all of this is matrix products: with the delta rule what the tokens write is the
solution of a triangular system (the WY form, section 3.3 there). In packed rows "earlier" is "visible"
(`easydel.ops.visible`): a chunk may hold the ends and beginnings of many sequences. Two states pass from chunk to
chunk: that behind the last token, and that behind the prompt of its segment, where the rejected completion starts.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from easydel.ops.visible import sees, tokens_of

CHUNK = 64


class Chunks(NamedTuple):
    """How the tokens of packed rows hang together, in chunks; states are numbered 0 (last token) and 1 (its prompt)."""

    visible: Bool[Array, "chunks rows chunk chunk"]  # which token (third axis) each token continues, itself among them
    entry: Bool[Array, "chunks rows 2 chunk"]  # which token continues which state that comes into the chunk
    exit: Bool[Array, "chunks rows 2 chunk"]  # which tokens are in the states that go out of it
    kept: Bool[Array, "chunks rows 2 2"]  # which states that go out (third axis) continue which that come in


def chunks_of(segment: Int[Array, "rows length"], branch: Int[Array, "rows length"], size: int = CHUNK) -> Chunks:
    """Returns the chunks of rows whose segments each lie as [prompt chosen rejected]; padding continues nothing."""
    rows, length = segment.shape
    padding = ((0, 0), (0, -length % size))
    segment, branch = (jnp.pad(x, padding) for x in (segment, branch))
    number = segment.shape[1] // size
    place = jnp.broadcast_to(jnp.arange(number * size), segment.shape)
    starts = (place == 0) | (segment != jnp.roll(segment, 1, axis=1))
    start = jax.lax.cummax(jnp.where(starts, place, 0), axis=1)
    last = jax.lax.cummax(jnp.where(segment > 0, place, -1), axis=1)  # token at or before each place
    prompt = jax.lax.cummax(jnp.where((branch == 0) & (segment > 0), place, -1), axis=1)

    def cut(x: jax.Array) -> jax.Array:
        return x.reshape(rows * number, size)

    tokens = tokens_of(cut(segment), cut(branch), cut(place))
    seen = sees(tokens, tokens, None) & (tokens.segment > 0)[:, :, None]

    before = jnp.pad(last[:, size - 1 :: size], ((0, 0), (1, 0)), constant_values=-1)[:, :-1].reshape(-1, 1)
    behind = last[:, size - 1 :: size].reshape(-1, 1)
    row = jnp.repeat(jnp.arange(rows), number)[:, None]
    first = jnp.tile(jnp.arange(number) * size, rows)[:, None]
    of_segment, of_branch = segment[row, before], branch[row, before]
    same = (before >= 0) & (tokens.segment == of_segment)
    own = same & ((of_branch == 0) | (of_branch == tokens.branch))
    entry = jnp.stack([own, same & ~own], axis=1)

    # The tokens whose states go out: the last one, and the last of its prompt. They may lie in an earlier chunk.
    its_prompt = prompt[row, jnp.maximum(behind, 0)]
    has_prompt = (behind >= 0) & (its_prompt >= start[row, jnp.maximum(behind, 0)])
    at = jnp.concatenate([behind, jnp.where(has_prompt, its_prompt, -1)], axis=1) - first  # [chunks, 2]
    here = at >= 0
    inside = jnp.maximum(at, 0)
    out = jnp.take_along_axis(seen, inside[:, :, None], axis=1) & here[..., None]
    continued = jnp.take_along_axis(entry, inside[:, None, :], axis=2).swapaxes(1, 2) & here[..., None]
    empty = ~jnp.any(tokens.segment > 0, axis=1)
    passed = jnp.stack([empty, empty | (has_prompt & ~here[:, 1:])[:, 0]], axis=1)
    kept = continued | (passed[..., None] & jnp.eye(2, dtype=bool))
    return Chunks(*(x.reshape(rows, number, *x.shape[1:]).swapaxes(0, 1) for x in (seen, entry, out, kept)))


def unit_lower_inverse(lower: Float[Array, "... chunk chunk"]) -> Float[Array, "... chunk chunk"]:
    """Returns (I + lower)^-1 of a strictly lower triangular matrix, by products of its blocks.

    Blocks of four are inverted by their powers, and pairs of blocks joined until one is left: as exact as substitution,
    which the powers of a whole chunk are not.
    """
    shape, size = lower.shape, lower.shape[-1]
    lower = lower.reshape(-1, size, size)  # of products with several axes of batches XLA's CPU compiler may crash
    width = min(4, size)
    diagonal = _diagonal(lower, width)
    identity = jnp.eye(width, dtype=lower.dtype)
    inverse = (identity - diagonal) @ (identity + diagonal @ diagonal)
    while width < size:
        blocks = _diagonal(lower, 2 * width)
        left = blocks[..., width:, :width]
        pairs = inverse.reshape(len(lower), -1, 2, width, width)
        top, bottom = pairs[..., 0, :, :], pairs[..., 1, :, :]
        joined = -bottom @ left @ top
        inverse = jnp.concatenate(
            [
                jnp.concatenate([top, jnp.zeros_like(top)], axis=-1),
                jnp.concatenate([joined, bottom], axis=-1),
            ],
            axis=-2,
        )
        width *= 2
    return inverse.reshape(shape)


def _diagonal(matrix: jax.Array, width: int) -> jax.Array:
    """Returns the blocks [... blocks width width] on the diagonal."""
    count = matrix.shape[-1] // width
    blocks = matrix.reshape(*matrix.shape[:-2], count, width, count, width)
    picked = jnp.diagonal(blocks, axis1=-4, axis2=-2)  # [... width width blocks]
    return jnp.moveaxis(picked, -1, -3)


class Inputs(NamedTuple):
    """What the tokens bring, a chunk or all: heads of values are grouped by the heads of keys that they share."""

    query: Float[Array, "... keys chunk key"]
    key: Float[Array, "... keys chunk key"]
    value: Float[Array, "... keys group chunk value"]
    decay: Float[Array, "... keys group chunk"]  # the logarithm g, at most 0
    rate: Float[Array, "... keys group chunk"] | None  # b; None: no delta rule


def recurrence(
    query: Float[Array, "rows length keys key"],
    key: Float[Array, "rows length keys key"],
    value: Float[Array, "rows length heads value"],
    decay: Float[Array, "rows length heads"],
    rate: Float[Array, "rows length heads"] | None,
    chunks: Chunks,
    *,
    on_cpu: bool,
    with_state: bool = False,
) -> tuple[Float[Array, "rows length heads value"], Float[Array, "rows heads key value"] | None]:
    """Returns (what each token reads, float32; the state behind the last token of each row, where asked for).

    Args:
        query, key, value: heads of values share heads of keys in groups, one after another.
        decay: g, the logarithm of what the state is multiplied by.
        rate: b of the delta rule; None leaves the rule out.
        chunks: how the tokens hang together.
        on_cpu: one chunk after another, those without tokens left out; otherwise all that can be is done for all
            chunks at once.
    """
    rows, length, keys = key.shape[:3]
    heads, size = value.shape[2], chunks.visible.shape[-1]
    padding = -length % size

    def cut(x: jax.Array, *heads: int) -> jax.Array:
        """Returns [chunks rows heads chunk ...] of [rows length heads ...]."""
        wide = jnp.pad(x.astype(jnp.float32), ((0, 0), (0, padding), *((0, 0) for _ in x.shape[2:])))
        wide = wide.reshape(rows, -1, size, *heads, *x.shape[3:])
        return jnp.moveaxis(wide, (1, 2), (0, 2 + len(heads)))

    group = (keys, heads // keys)
    tokens = Inputs(
        cut(query, keys),
        cut(key, keys),
        cut(value, *group),
        cut(decay, *group),
        None if rate is None else cut(rate, *group),
    )
    start = jnp.zeros((rows, *group, 2, key.shape[3], value.shape[3]), jnp.float32)
    end, out = (_one_by_one if on_cpu else _at_once)(start, tokens, chunks)
    # [chunks rows keys group chunk value] -> [rows length heads value]
    out = jnp.moveaxis(out, (0, 4), (1, 2)).reshape(rows, -1, heads, value.shape[3])[:, :length]
    return out, end[:, :, :, 0].reshape(rows, heads, *end.shape[4:]) if with_state else None


def _one_by_one(start: jax.Array, tokens: Inputs, chunks: Chunks) -> tuple[jax.Array, jax.Array]:
    @jax.checkpoint
    def chunk(state: jax.Array, turn: tuple[Inputs, Chunks]) -> tuple[jax.Array, jax.Array]:
        return _across(state, turn[0], _within(*turn), turn[1])

    def step(state: jax.Array, turn: tuple[Inputs, Chunks]) -> tuple[jax.Array, jax.Array]:
        nothing = jnp.zeros_like(turn[0].value)
        used = jnp.any(turn[1].visible)
        return jax.lax.cond(used, chunk, lambda state, turn: (state, nothing), state, turn)

    return jax.lax.scan(step, start, (tokens, chunks))


def _at_once(start: jax.Array, tokens: Inputs, chunks: Chunks) -> tuple[jax.Array, jax.Array]:
    within = jax.vmap(_within)(tokens, chunks)
    return jax.lax.scan(lambda state, turn: _across(state, *turn), start, (tokens, within, chunks))


class _Within(NamedTuple):
    """What follows from the tokens of a chunk alone."""

    reads: Float[Array, "... chunk chunk"]  # how much each token reads of what each writes
    solved: Float[Array, "... chunk chunk"] | None  # the inverse of the triangular system
    grown: Float[Array, "... chunk"]  # the decay of what came into the chunk, until each token
    left: Float[Array, "... 2 chunk"]  # that of what each token writes, until the end
    passed: Float[Array, "... 2"]  # that of what came into the chunk, until the end


def _within(tokens: Inputs, chunk: Chunks) -> _Within:
    seen, out = chunk.visible[:, None, None], chunk.exit[:, None, None]
    total = jnp.einsum("rij,rkgj->rkgi", chunk.visible.astype(jnp.float32), tokens.decay)
    ends = jnp.einsum("rxj,rkgj->rkgx", chunk.exit.astype(jnp.float32), tokens.decay)
    between = jnp.exp(jnp.where(seen, total[..., :, None] - total[..., None, :], -jnp.inf))
    left = jnp.exp(jnp.where(out, ends[..., :, None] - total[..., None, :], -jnp.inf))
    reads = jnp.einsum("rkid,rkjd->rkij", tokens.query, tokens.key)[:, :, None] * between
    solved = None
    if tokens.rate is not None:
        alike = jnp.einsum("rkid,rkjd->rkij", tokens.key, tokens.key)[:, :, None]
        itself = jnp.eye(seen.shape[-1], dtype=bool)
        solved = unit_lower_inverse(jnp.where(itself, 0.0, alike * between * tokens.rate[..., None]))
    return _Within(reads, solved, jnp.exp(total), left, jnp.exp(ends))


def _across(state: jax.Array, tokens: Inputs, within: _Within, chunk: Chunks) -> tuple[jax.Array, jax.Array]:
    """Returns (the states behind the chunk, what its tokens read)."""
    entry = jnp.where(chunk.entry[:, None, None], within.grown[:, :, :, None], 0.0)  # of each state, for each token
    written = tokens.value
    if tokens.rate is not None and within.solved is not None:
        known = jnp.einsum("rkid,rkgsdv,rkgsi->rkgiv", tokens.key, state, entry, optimize=[(0, 1), (0, 1)])
        written = within.solved @ (tokens.rate[..., None] * (tokens.value - known))
    read = jnp.einsum("rkid,rkgsdv,rkgsi->rkgiv", tokens.query, state, entry, optimize=[(0, 1), (0, 1)])
    out = read + within.reads @ written
    added = jnp.einsum("rkgxi,rkid,rkgiv->rkgxdv", within.left, tokens.key, written, optimize=[(0, 1), (0, 1)])
    kept = jnp.where(chunk.kept[:, None, None], within.passed[..., None], 0.0)
    return jnp.einsum("rkgxs,rkgsdv->rkgxdv", kept, state) + added, out


def next_state(
    query: Float[Array, "rows keys key"],
    key: Float[Array, "rows keys key"],
    value: Float[Array, "rows heads value"],
    decay: Float[Array, "rows heads"],
    rate: Float[Array, "rows heads"] | None,
    state: Float[Array, "rows heads key value"],
) -> tuple[Float[Array, "rows heads value"], Float[Array, "rows heads key value"]]:
    """Returns (what one more token of each row reads, float32; the state behind it)."""
    wide = partial(jnp.asarray, dtype=jnp.float32)
    group = value.shape[1] // key.shape[1]
    query, key = (jnp.repeat(wide(x), group, axis=1) for x in (query, key))
    state = jnp.exp(wide(decay))[..., None, None] * state
    written = wide(value)
    if rate is not None:
        written = wide(rate)[..., None] * (written - jnp.einsum("rhdv,rhd->rhv", state, key))
    state = state + jnp.einsum("rhd,rhv->rhdv", key, written)
    return jnp.einsum("rhdv,rhd->rhv", state, query), state
