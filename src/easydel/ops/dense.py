"""Dense attention: every score of a query and a mask, for a bounded number of queries at a time.

A mask knows nothing of where a segment begins, so a query costs as much as its row is long. What is alive at once is
bounded by `ROOM`, whatever the number of rows: a loop takes some rows after another, or some queries of one row, and
skips those without tokens. Query, key and value are all that is kept for the gradient, which is written by hand only
in so far as it makes the scores of a block anew and adds up what the blocks give to a key, in float32.
"""

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int

from easydel.ops.mechanism import MASKED, LayerAttention, Mechanism, RowLayout, Scores, on_each_device
from easydel.ops.softcap import soft_cap
from easydel.ops.visible import Tokens, sees, tokens_of
from easydel.sharding import RULES, length_shards, parts_of

# Bytes of scores in float32 that are alive at once on each device: small on CPU, where they should stay near the cache
# (`docs/performance.md`), and enough to keep an accelerator busy there.
ROOM = {"cpu": 4 * 1024**2}
ROOM_ELSEWHERE = 1024**3
# Arrays as large as these scores while a gradient is computed: the scores, their softmax, and the gradients of both.
COPIES = 4
_LEAST = 8  # queries at a time, however long their row


class Layout(NamedTuple):
    """Whose attention is computed here.

    Attributes:
        queries: those of this device.
        keys: of whole rows.
        row: number of the first row in all rows.
        head: number of the first head in all heads.
    """

    queries: Tokens
    keys: Tokens
    row: Int[Array, ""]
    head: Int[Array, ""]


class How(NamedTuple):
    """How attention is computed; static.

    Attributes:
        scores: how scores are made, which of them are seen too.
        fused: by `jax.nn.dot_product_attention`.
        room: bytes of scores at a time.
        dropout_rate: the share of weights that are dropped; 0 needs no key.
    """

    scores: Scores
    fused: bool
    room: int
    dropout_rate: float = 0.0


class Step(NamedTuple):
    """How many rows, and how many queries of each, are taken at a time."""

    rows: int
    queries: int

    def scores(self, heads: int, keys: int) -> int:
        """Returns the bytes of their scores."""
        return 4 * self.rows * self.queries * heads * keys


def step_of(rows: int, queries: int, keys: int, heads: int, room: int) -> Step:
    """Returns the most rows whose scores take at most `room` bytes, or else the most queries of one row.

    Rows are taken in equal numbers, queries in multiples of 8.

    >>> step_of(6, 512, 512, 8, 8 * 1024**2), step_of(6, 512, 512, 8, 24 * 1024**2), step_of(6, 512, 512, 8, 2**20)
    (Step(rows=1, queries=512), Step(rows=3, queries=512), Step(rows=1, queries=64))
    """
    most = room // Step(1, queries).scores(heads, keys)
    if most >= 1:
        return Step(max(n for n in range(1, rows + 1) if rows % n == 0 and n <= most), queries)
    fitting = room // Step(1, _LEAST).scores(heads, keys) * _LEAST
    return Step(1, max(fitting, _LEAST))


def room_on(platform: str) -> int:
    """Returns the bytes of scores that are alive at once on a device of this platform."""
    return ROOM.get(platform, ROOM_ELSEWHERE)


def masked_softmax(
    query: Float[Array, "rows q_len heads head_dim"],
    key: Float[Array, "rows k_len kv_heads head_dim"],
    value: Float[Array, "rows k_len kv_heads head_dim"],
    mask: Bool[Array, "rows q_len k_len"],
    *,
    scale: float,
    score_cap: float | None,
    drop: Callable[[jax.Array], jax.Array] | None = None,
) -> Float[Array, "rows q_len heads head_dim"]:
    """Returns softmax(scale * query key^T) value over the keys that `mask` allows, all scores at once.

    Args:
        drop: what becomes of the weights [rows heads queries keys].
    """
    rows, q_len, heads, head_dim = query.shape
    kv_heads, k_len = key.shape[2], key.shape[1]
    grouped = query.reshape(rows, q_len, kv_heads, heads // kv_heads, head_dim)
    scores = jnp.einsum("rqkgd,rskd->rkgqs", grouped, key, preferred_element_type=jnp.float32)
    scores = jnp.where(mask[:, None, None], soft_cap(scores * scale, score_cap), MASKED)
    weights = jax.nn.softmax(scores, axis=-1)
    if drop is not None:
        weights = drop(weights.reshape(rows, heads, q_len, k_len)).reshape(weights.shape)
    mixed = jnp.einsum("rkgqs,rskd->rqkgd", weights.astype(value.dtype), value)
    return mixed.reshape(rows, q_len, heads, head_dim)


@partial(jax.custom_vjp, nondiff_argnums=(5,))
def dense_attention(
    query: Float[Array, "rows part heads head_dim"],
    key: Float[Array, "rows length kv_heads head_dim"],
    value: Float[Array, "rows length kv_heads head_dim"],
    layout: Layout,
    dropout_key: jax.Array | None,
    how: How,
) -> Float[Array, "rows part heads head_dim"]:
    """Returns softmax(scale * query key^T) value over the keys each query sees, in the dtype of `query`.

    What stands at padding is finite and means nothing.

    Args:
        dropout_key: the data of a random key. Which weights are dropped depends on it and on row, head and place, not
            on how many are computed at a time or by which device.
    """
    rows, length = query.shape[:2]
    step = step_of(rows, length, key.shape[1], query.shape[2], how.room)
    if step == (rows, length):
        return _scored(query, key, value, layout, dropout_key, how)
    query, layout = _whole_steps(query, layout, step)
    order, used = _steps_with_tokens(layout.queries.segment, step)

    def one(number: jax.Array, out: jax.Array) -> jax.Array:
        at = _place(order[number], query.shape[1], step)
        mine = _scored(*_cut((query, key, value), layout, at, step), dropout_key, how)
        return jax.lax.dynamic_update_slice(out, mine, (*at, 0, 0))

    return jax.lax.fori_loop(0, used, one, jnp.zeros_like(query))[:, :length]


def _forward(
    query: jax.Array, key: jax.Array, value: jax.Array, layout: Layout, dropout_key: jax.Array | None, how: How
) -> tuple[jax.Array, tuple]:
    kept = query, key, value, layout, dropout_key
    return dense_attention(*kept, how), kept


def _backward(how: How, kept: tuple, d_out: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array, None, None]:
    query, key, value, layout, dropout_key = kept
    rows, length = query.shape[:2]
    step = step_of(rows, length, key.shape[1], query.shape[2], how.room)

    def pulled(
        query: jax.Array, key: jax.Array, value: jax.Array, layout: Layout, d_out: jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        def scored(query: jax.Array, key: jax.Array, value: jax.Array) -> jax.Array:
            return _scored(query, key, value, layout, dropout_key, how)

        return jax.vjp(scored, query, key, value)[1](d_out)

    if step == (rows, length):
        d_query, d_key, d_value = pulled(query, key, value, layout, d_out)
        return d_query, d_key, d_value, None, None
    d_out, _ = _whole_steps(d_out, layout, step)
    query, layout = _whole_steps(query, layout, step)
    order, used = _steps_with_tokens(layout.queries.segment, step)

    def one(number: jax.Array, done: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        d_query, *d_others = done
        row, first = _place(order[number], query.shape[1], step)
        pull = jax.lax.dynamic_slice(d_out, (row, first, 0, 0), (*step, *d_out.shape[2:]))
        mine, its_key, its_value, here = _cut((query, key, value), layout, (row, first), step)
        d_mine, *more = pulled(mine, its_key, its_value, here, pull)
        added = (
            jax.lax.dynamic_update_slice_in_dim(
                total, jax.lax.dynamic_slice_in_dim(total, row, step.rows) + part.astype(jnp.float32), row, axis=0
            )
            for total, part in zip(d_others, more, strict=True)
        )
        return jax.lax.dynamic_update_slice(d_query, d_mine, (row, first, 0, 0)), *added

    empty = jnp.zeros_like(query), *(jnp.zeros_like(x, jnp.float32) for x in (key, value))
    d_query, d_key, d_value = jax.lax.fori_loop(0, used, one, empty)
    return d_query[:, :length], d_key.astype(key.dtype), d_value.astype(value.dtype), None, None


dense_attention.defvjp(_forward, _backward)


def _scored(
    query: jax.Array, key: jax.Array, value: jax.Array, layout: Layout, dropout_key: jax.Array | None, how: How
) -> jax.Array:
    """Returns the attention of these queries, all scores at once."""
    scale, window, cap, precision = how.scores
    mask = sees(layout.queries, layout.keys, window)
    with nullcontext() if precision is None else jax.default_matmul_precision(precision):
        if how.fused:
            return jax.nn.dot_product_attention(query, key, value, mask=mask[:, None], scale=scale)
        drop = None if dropout_key is None else partial(_dropped, dropout_key, layout, how.dropout_rate)
        return masked_softmax(query, key, value, mask, scale=scale, score_cap=cap, drop=drop)


def _dropped(dropout_key: jax.Array, layout: Layout, rate: float, weights: jax.Array) -> jax.Array:
    """Returns the weights [rows heads queries keys], some of them 0 and the others over what is kept on average."""
    rows, heads, _, keys = weights.shape
    fold = jax.random.fold_in

    def of_query(row: jax.Array, head: jax.Array, place: jax.Array) -> jax.Array:
        mine = fold(fold(fold(jax.random.wrap_key_data(dropout_key), row), head), place)
        return jax.random.bernoulli(mine, 1 - rate, (keys,))

    of_row = jax.vmap(jax.vmap(of_query, (None, None, 0)), (None, 0, None))
    numbers = layout.row + jnp.arange(rows), layout.head + jnp.arange(heads)
    kept = jax.vmap(of_row, (0, None, 0))(*numbers, layout.queries.place)
    return jnp.where(kept, weights / (1 - rate), 0.0)


def _whole_steps(x: jax.Array, layout: Layout, step: Step) -> tuple[jax.Array, Layout]:
    """Returns both with filler, in segment 0, at the end of the queries of a row."""
    filler = (0, 0), (0, -x.shape[1] % step.queries)
    padded = jnp.pad(x, (*filler, *((0, 0) for _ in x.shape[2:])))
    return padded, layout._replace(queries=jax.tree.map(lambda leaf: jnp.pad(leaf, filler), layout.queries))


def _steps_with_tokens(segment: Int[Array, "rows queries"], step: Step) -> tuple[Int[Array, "steps"], Int[Array, ""]]:
    """Returns the numbers of the steps, those with tokens first, and how many these are."""
    rows, queries = segment.shape
    parts = segment.reshape(rows // step.rows, step.rows, queries // step.queries, step.queries)
    any_token = jnp.any(parts > 0, axis=(1, 3)).reshape(-1)
    return jnp.argsort(~any_token, stable=True), jnp.sum(any_token, dtype=jnp.int32)


def _place(number: jax.Array, queries: int, step: Step) -> tuple[jax.Array, jax.Array]:
    """Returns the first row and the first query of a step."""
    in_a_row = queries // step.queries
    return number // in_a_row * step.rows, number % in_a_row * step.queries


def _cut(
    arrays: tuple[jax.Array, jax.Array, jax.Array], layout: Layout, at: tuple[jax.Array, jax.Array], step: Step
) -> tuple[jax.Array, jax.Array, jax.Array, Layout]:
    """Returns query, key, value and layout of one step."""
    row, first = at
    query = jax.lax.dynamic_slice(arrays[0], (row, first, 0, 0), (*step, *arrays[0].shape[2:]))
    key, value = (jax.lax.dynamic_slice_in_dim(x, row, step.rows) for x in arrays[1:])
    queries = jax.tree.map(lambda x: jax.lax.dynamic_slice(x, at, step), layout.queries)
    keys = jax.tree.map(lambda x: jax.lax.dynamic_slice_in_dim(x, row, step.rows), layout.keys)
    return query, key, value, Layout(queries, keys, layout.row + row, layout.head)


def _make(layout: RowLayout, scores: Scores, mesh: Mesh, sequences: int | None, *, fused: bool) -> LayerAttention:
    """Where rows are split along their length, a device has a part of the queries and gets the keys of whole rows."""
    parts, room = length_shards(mesh), room_on(mesh.devices.flat[0].platform)

    def first(axis: str, mine: int) -> jax.Array:
        """Returns the number of the first of `mine` parts of an axis that are here."""
        return jnp.asarray(jax.lax.axis_index(RULES[axis]) * mine if parts_of(axis, mesh) > 1 else 0)

    def prepare(*layout: jax.Array) -> tuple[Tokens, Tokens, jax.Array]:
        keys = tokens_of(*layout)
        rows, length = layout[0].shape
        part = length // parts
        here = partial(jax.lax.dynamic_slice_in_dim, start_index=first("length", part), slice_size=part, axis=1)
        return jax.tree.map(here, keys), keys, first("rows", rows)

    def mix(query: jax.Array, key: jax.Array, value: jax.Array, ready: Any, dropout: tuple | None = None) -> jax.Array:
        here = Layout(*ready, head=first("heads", query.shape[2]))
        how = How(scores, fused, room, 0.0 if dropout is None else dropout[1])
        return dense_attention(query, key, value, here, None if dropout is None else dropout[0], how)

    return on_each_device(layout, mesh, prepare, mix, drops=not fused)


VANILLA = Mechanism(partial(_make, fused=False), dropout=True, score_cap=True, dense_mask=True)
SDPA = Mechanism(partial(_make, fused=True), dense_mask=True, jax_kernel=True)
