"""What `vanilla` and `sdpa` share: every score of a query and a mask, for a bounded number of queries at a time.

A mask knows nothing of where a segment begins, so a query costs as much as its row is long. What is alive at once is
bounded by `ROOM`, whatever the number of rows: a loop takes some rows after another, or some queries of one row, and
skips those without tokens. Query, key and value are all that is kept for the gradient, which is written by hand only
in so far as it makes the scores of a block anew and adds up what the blocks give to a key, in float32.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int

from easydel.ops.mechanism import LayerAttention, RowLayout, Scores, on_each_device
from easydel.ops.visible import Tokens, tokens_of
from easydel.sharding import RULES, length_shards, parts_of

# Bytes of scores in float32 that are alive at once on each device: small on CPU, where they should stay near the cache
# (`docs/performance.md`), and enough to keep an accelerator busy there.
ROOM = {"cpu": 4 * 1024**2}
ROOM_ELSEWHERE = 1024**3
# Arrays as large as these scores while a gradient is computed: the scores, their softmax, and the gradients of both.
COPIES = 4
_MIN_QUERIES = 8  # at a time, however long their row


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


class DenseConfig(NamedTuple):
    """How attention is computed; static.

    Attributes:
        scores: how scores are made, which of them are seen too.
        attend: `(query, key, value, layout, dropout_key, config) -> mixed values`, all scores of these queries at once.
        room: bytes of scores at a time.
        dropout_rate: the share of weights that are dropped; 0 needs no key.
    """

    scores: Scores
    attend: Callable[..., jax.Array]
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
    max_rows = room // Step(1, queries).scores(heads, keys)
    if max_rows >= 1:
        return Step(max(n for n in range(1, rows + 1) if rows % n == 0 and n <= max_rows), queries)
    max_queries = room // Step(1, _MIN_QUERIES).scores(heads, keys) * _MIN_QUERIES
    return Step(1, max(max_queries, _MIN_QUERIES))


def room_on(platform: str) -> int:
    """Returns the bytes of scores that are alive at once on a device of this platform."""
    return ROOM.get(platform, ROOM_ELSEWHERE)


@partial(jax.custom_vjp, nondiff_argnums=(5,))
def dense_attention(
    query: Float[Array, "rows part heads head_dim"],
    key: Float[Array, "rows length kv_heads head_dim"],
    value: Float[Array, "rows length kv_heads head_dim"],
    layout: Layout,
    dropout_key: jax.Array | None,
    config: DenseConfig,
) -> Float[Array, "rows part heads head_dim"]:
    """Returns softmax(scale * query key^T) value over the keys each query sees, in the dtype of `query`.

    At padding it is finite and undefined.

    Args:
        dropout_key: the data of a random key. Which weights are dropped depends on it and on row, head and place, not
            on how many are computed at a time or by which device.
    """
    rows, length = query.shape[:2]
    step = step_of(rows, length, key.shape[1], query.shape[2], config.room)
    if step == (rows, length):
        return config.attend(query, key, value, layout, dropout_key, config)
    query, layout = _whole_steps(query, layout, step)
    order, used = _steps_with_tokens(layout.queries.segment, step)

    def one(number: jax.Array, out: jax.Array) -> jax.Array:
        at = _place(order[number], query.shape[1], step)
        mine = config.attend(*_cut((query, key, value), layout, at, step), dropout_key, config)
        return jax.lax.dynamic_update_slice(out, mine, (*at, 0, 0))

    return jax.lax.fori_loop(0, used, one, jnp.zeros_like(query))[:, :length]


def _forward(*given: Any) -> tuple[jax.Array, tuple]:
    return dense_attention(*given), given[:-1]  # all but the configuration


def _backward(config: DenseConfig, kept: tuple, d_out: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array, None, None]:
    query, key, value, layout, dropout_key = kept
    rows, length = query.shape[:2]
    step = step_of(rows, length, key.shape[1], query.shape[2], config.room)

    def gradients(
        query: jax.Array, key: jax.Array, value: jax.Array, layout: Layout, d_out: jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        return jax.vjp(lambda *mixed: config.attend(*mixed, layout, dropout_key, config), query, key, value)[1](d_out)

    if step == (rows, length):
        d_query, d_key, d_value = gradients(query, key, value, layout, d_out)
        return d_query, d_key, d_value, None, None
    d_out, _ = _whole_steps(d_out, layout, step)
    query, layout = _whole_steps(query, layout, step)
    order, used = _steps_with_tokens(layout.queries.segment, step)

    def one(number: jax.Array, done: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        d_query, *d_others = done
        row, first = _place(order[number], query.shape[1], step)
        d_here = jax.lax.dynamic_slice(d_out, (row, first, 0, 0), (*step, *d_out.shape[2:]))
        mine, its_key, its_value, here = _cut((query, key, value), layout, (row, first), step)
        d_mine, *more = gradients(mine, its_key, its_value, here, d_here)
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


def _whole_steps(x: jax.Array, layout: Layout, step: Step) -> tuple[jax.Array, Layout]:
    """Returns both with padding, in segment 0, at the end of the queries of a row."""
    padding = (0, 0), (0, -x.shape[1] % step.queries)
    padded = jnp.pad(x, (*padding, *((0, 0) for _ in x.shape[2:])))
    return padded, layout._replace(queries=jax.tree.map(lambda leaf: jnp.pad(leaf, padding), layout.queries))


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


def make_dense(
    layout: RowLayout,
    scores: Scores,
    mesh: Mesh,
    sequences: int | None,
    *,
    attend: Callable[..., jax.Array],
    dropout: bool = False,
) -> LayerAttention:
    """Returns the attention of a layer by `attend`, see `DenseConfig`; as `Mechanism.make`, once `attend` is given.

    Where rows are split along their length, a device has a part of the queries and gets the keys of whole rows.

    Args:
        dropout: whether `attend` can drop weights.
    """
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

    def mix(query: jax.Array, key: jax.Array, value: jax.Array, ready: Any, drop: tuple | None = None) -> jax.Array:
        here = Layout(*ready, head=first("heads", query.shape[2]))
        config = DenseConfig(scores, attend, room, 0.0 if drop is None else drop[1])
        return dense_attention(query, key, value, here, None if drop is None else drop[0], config)

    return on_each_device(layout, mesh, prepare, mix, dropout=dropout)
