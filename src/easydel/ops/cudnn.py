"""Packed rows unpacked into sequences, [prompt chosen] and [prompt rejected], for attention that knows no branches.

A kernel such as cuDNN's takes plain causal sequences and their lengths. Tokens of a shared prompt are copied into both
sequences, and what attention makes of them is taken from the first: it is the same in both. Sequences are put into
buckets, longest first, whose sizes are known before any length is: of sequences longer than a k-th of a row, no row
has more than 2 (k - 1).
"""

from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int

from easydel.ops.mechanism import LayerAttention, Mechanism, Needs, RowLayout, Scores, on_each_device
from easydel.sharding import RULES, length_shards, row_shards

MULTIPLE = 64  # tokens; kernels refuse odd lengths


class Bucket(NamedTuple):
    """`number` sequences, each with room for `length` tokens. Static."""

    number: int
    length: int


class Sequences(NamedTuple):
    """Where tokens go: places count the tokens of all rows, slots the room in all buckets, one after another.

    A slot that no token is in has the place 0, and a token that is in one sequence only, or none, has the slot -1.
    """

    source: Int[Array, "slots"]  # the place of what is copied there
    first: Int[Array, "places"]  # the slot of a token
    second: Int[Array, "places"]  # the slot of its copy
    lengths: Int[Array, "sequences"]


def buckets(rows: int, length: int, sequences: int) -> tuple[Bucket, ...]:
    """Returns buckets that take any `sequences` of packed rows, filled longest first.

    The sequence of rank r (from 0) is at most `length / k` long with `k = 1 + r // (2 rows)`: were it longer, there
    would be r + 1 > 2 rows (k - 1) of them, at most two to a segment, and some row would have k segments of more than
    a k-th of it. Several k share a bucket, so that there are few.

    >>> [tuple(bucket) for bucket in buckets(rows=2, length=1024, sequences=14)]
    [(4, 1024), (4, 512), (4, 384), (2, 256)]
    """
    found, placed, k = [], 0, 1
    while placed < sequences:
        after = k + max(1, k // 2)
        count = min(2 * rows * (after - k), sequences - placed)
        found.append(Bucket(count, -(-(length // k) // MULTIPLE) * MULTIPLE))
        placed, k = placed + count, after
    return tuple(found)


def unpack(
    segment: Int[Array, "rows length"], branch: Int[Array, "rows length"], room: tuple[Bucket, ...]
) -> Sequences:
    """Returns where the tokens of rows go whose segments each lie as [prompt chosen rejected].

    A segment without completions, as a prompt to be continued is, is one sequence.
    """
    length = segment.shape[1]
    segment, branch = segment.reshape(-1), branch.reshape(-1)
    place = jnp.arange(segment.size)
    new_segment = (place % length == 0) | (segment != jnp.roll(segment, 1))
    new_run = new_segment | (branch != jnp.roll(branch, 1))
    prompt = jax.lax.cummax(jnp.where(new_segment, place, 0))
    after_prompt = jnp.maximum(prompt, jax.lax.cummax(jnp.where(branch == 0, place + 1, 0)))
    end = jax.lax.cummin(jnp.append(jnp.where(new_run, place, place.size)[1:], place.size), reverse=True)
    alone = (branch == 0) & jnp.append(new_segment, True)[end]
    begins = new_run & (segment > 0) & ((branch > 0) | alone)
    of_prompt = jnp.where(branch > 0, after_prompt - prompt, 0)
    total = jnp.where(begins, of_prompt + end - place, 0)
    longest = jnp.argsort(-total, stable=True)[: sum(bucket.number for bucket in room)]
    lengths = total[longest]
    source, at = [], 0
    for bucket in room:
        own = longest[at : at + bucket.number, None]
        slot, shared = jnp.arange(bucket.length), of_prompt[own]
        token = jnp.where(slot < shared, prompt[own] + slot, own + slot - shared)
        source.append(jnp.where(slot < total[own], token, place.size).reshape(-1))
        at += bucket.number
    source = jnp.concatenate(source)
    slots = jnp.arange(source.size)
    last = jnp.full(place.size, -1).at[source].max(slots, mode="drop")
    first = jnp.full(place.size, source.size).at[source].min(slots, mode="drop")
    return Sequences(
        source=jnp.where(source < place.size, source, 0),
        first=jnp.where(last < 0, -1, first),
        second=jnp.where(last > first, last, -1),
        lengths=lengths,
    )


def unpacked_attention(
    query: Float[Array, "rows length heads head_dim"],
    key: Float[Array, "rows length kv_heads head_dim"],
    value: Float[Array, "rows length kv_heads head_dim"],
    sequences: Sequences,
    room: tuple[Bucket, ...],
    *,
    scale: float,
    window: int | None,
    implementation: Literal["xla", "cudnn"],
) -> Float[Array, "rows length heads head_dim"]:
    """Returns softmax(scale * query key^T) value over the keys each query sees, 0 at padding.

    A query sees keys of its sequence less than `window` before it. The backward pass begins with query, key and value,
    and with what cuDNN said of them: their copies are made again, attention is not.
    """

    def mixed(*packed: jax.Array) -> jax.Array:
        parts = [_unpacked(x.reshape(-1, *x.shape[2:]), sequences) for x in packed]
        outs, slot, rank = [], 0, 0
        for count, length in room:
            used = jnp.maximum(sequences.lengths[rank : rank + count], 1)  # kernels may divide by it
            here = (x[slot : slot + count * length].reshape(count, length, *x.shape[1:]) for x in parts)
            out = jax.nn.dot_product_attention(
                *here,
                scale=scale,
                is_causal=True,
                query_seq_lengths=used,
                key_value_seq_lengths=used,
                local_window_size=None if window is None else (window - 1, 0),
                implementation=implementation,
            )
            outs.append(out.reshape(count * length, *out.shape[2:]))
            slot, rank = slot + count * length, rank + count
        return _repacked(jnp.concatenate(outs), sequences).reshape(packed[0].shape)

    return jax.checkpoint(mixed, policy=_is_of_kernel)(query, key, value)


def _is_of_kernel(primitive: Any, *_: Any, **__: Any) -> bool:
    """Returns whether a primitive is cuDNN's attention: both results, the values and what was divided by, are kept.

    A name can be given to the values alone, from which no gradient follows. Were they computed again, a layer that is
    itself computed again for its gradient would do so twice.
    """
    return primitive.name.startswith("dot_product_attention_fwd")


# Both are written with their gradients, so that each way is a read: the gradient of a read would be a sum into places.
@jax.custom_vjp
def _unpacked(x: Float[Array, "places ..."], sequences: Sequences) -> Float[Array, "slots ..."]:
    """Returns the tokens copied into their slots."""
    return x[sequences.source]


@jax.custom_vjp
def _repacked(x: Float[Array, "slots ..."], sequences: Sequences) -> Float[Array, "places ..."]:
    """Returns what stands in the first slot of each token, 0 for padding."""
    return _read(x, sequences.first)


def _read(x: Float[Array, "from ..."], at: Int[Array, "to"]) -> Float[Array, "to ..."]:
    """Returns x[at], 0 where `at` is -1: a slot of no token may hold anything, also nan."""
    return jnp.where((at >= 0).reshape(-1, *[1] * (x.ndim - 1)), x[jnp.maximum(at, 0)], 0)


def _unpacked_backward(sequences: Sequences, d_out: Float[Array, "slots ..."]) -> tuple[jax.Array, None]:
    return _read(d_out, sequences.first) + _read(d_out, sequences.second), None


def _repacked_backward(sequences: Sequences, d_out: Float[Array, "places ..."]) -> tuple[jax.Array, None]:
    is_first = sequences.first[sequences.source] == jnp.arange(sequences.source.size)
    return _read(d_out, jnp.where(is_first, sequences.source, -1)), None


def _kept(function, x: jax.Array, sequences: Sequences) -> tuple[jax.Array, Sequences]:
    return function(x, sequences), sequences


_unpacked.defvjp(partial(_kept, _unpacked), _unpacked_backward)
_repacked.defvjp(partial(_kept, _repacked), _repacked_backward)


def make_unpacked(
    layout: RowLayout,
    scores: Scores,
    mesh: Mesh,
    sequences: int | None,
    *,
    implementation: Literal["xla", "cudnn"],
) -> LayerAttention:
    """Returns the attention of a layer on unpacked sequences; as `Mechanism.make`, once `implementation` is given.

    Where rows are split along their length, devices exchange parts of rows for heads, and back (DeepSpeed-Ulysses,
    arXiv 2309.14509): each attends in whole rows.
    """
    rows, length = layout[0].shape
    mine, parts = rows // row_shards(mesh), length_shards(mesh)
    room = buckets(mine, length, mine * length if sequences is None else min(sequences, mine * length))

    def mix(query: jax.Array, key: jax.Array, value: jax.Array, unpacked: Sequences) -> jax.Array:
        options = {"scale": scores.scale, "window": scores.window}
        return unpacked_attention(query, key, value, unpacked, room, **options, implementation=implementation)

    def mix_heads(query: jax.Array, key: jax.Array, value: jax.Array, unpacked: Sequences) -> jax.Array:
        key, value = (_keys_of_part(x, query.shape[2], parts) for x in (key, value))
        out = mix(_exchanged(query, split=2, joined=1), key, value, unpacked)
        return _exchanged(out, split=1, joined=2)

    def prepare(segment: jax.Array, branch: jax.Array, _: jax.Array) -> Sequences:
        return unpack(segment, branch, room)

    return on_each_device(layout, mesh, prepare, mix if parts == 1 else mix_heads)


def _exchanged(x: jax.Array, *, split: int, joined: int) -> jax.Array:
    """Returns this device's share of one axis of `x`, with all that the devices of a row have of the other."""
    return jax.lax.all_to_all(x, RULES["length"], split, joined, tiled=True)


def _keys_of_part(
    x: Float[Array, "rows length kv_heads head_dim"], heads: int, parts: int
) -> Float[Array, "rows length shared head_dim"]:
    """Returns the keys of this device's share of the heads: at least one, where several devices share it."""
    kv_heads = x.shape[2]
    share = max(kv_heads // parts, 1)
    first = jax.lax.axis_index(RULES["length"]) * (heads // parts) // (heads // kv_heads)
    return jax.lax.dynamic_slice_in_dim(x, first, share, axis=2)


def _refuses(needs: Needs) -> str | None:
    if needs.capability is None or needs.capability < (8, 0):
        return "needs an NVIDIA GPU of compute capability 8.0 (A100) or newer"
    widest = 256 if needs.capability >= (9, 0) else 128
    if needs.head_dim % 8 or needs.head_dim > widest:
        return f"takes a head_dim that is a multiple of 8 up to {widest}, and it is {needs.head_dim}"
    (heads, kv_heads), parts = needs.heads, needs.length_shards
    if heads % parts or (kv_heads % parts and parts % kv_heads):
        return f"splits {heads} heads of queries and {kv_heads} of keys over the {parts} devices of a row (sp)"
    return None


CUDNN = Mechanism(
    partial(make_unpacked, implementation="cudnn"),
    platform="gpu",
    dtypes=("bfloat16", "float16"),
    jax_kernel=True,
    refuses=_refuses,
)
