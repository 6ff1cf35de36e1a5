"""Attention: one entry, several mechanisms behind it. `vanilla` (a dense mask) is the oracle of the others.

| mechanism   | where        | how                                                                            |
|-------------|--------------|--------------------------------------------------------------------------------|
| `vanilla`   | everywhere   | all scores of a row and a mask, some rows at a time; dropout too (`dense.py`)  |
| `sdpa`      | everywhere   | the same through `jax.nn.dot_product_attention`, as XLA likes it               |
| `blockwise` | made for CPU | blocks of the scores that somebody sees (`blockwise.py`)                       |
| `cudnn`     | NVIDIA GPUs  | cuDNN on sequences taken apart (`unshared.py`)                                 |
| `splash`    | TPUs         | jax's kernel, which skips blocks that nobody sees (`splash.py`)                |
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Bool, Float, Int, Key

from easydel.blockwise import Blocks, Scores, blockwise_attention, query_blocks
from easydel.dense import How, Layout, Tokens, dense_attention, masked_softmax, room_on, sees
from easydel.errors import ConfigError, nearest
from easydel.sharding import RULES, length_shards, parts_of, row_shards, spec_for
from easydel.unshared import Sequences, buckets, take_apart, unshared_attention

Dropout = tuple[Key[Array, ""], float]  # the key and the rate in (0, 1)
# A layer's attention, with the layout of the rows already in it: (query, key, value, dropout) -> mixed values.
LayerAttention = Callable[[jax.Array, jax.Array, jax.Array, Dropout | None], jax.Array]

MECHANISMS = ("vanilla", "blockwise", "sdpa", "cudnn", "splash")
DENSE = ("vanilla", "sdpa")  # those that compute every score of a row
WITH_DROPOUT = ("vanilla",)
WITH_SCORE_CAP = ("vanilla", "blockwise", "splash")
# The platforms, as jax calls them, of those that do not run on all.
RUNS_ON = {"cudnn": "gpu", "splash": "tpu"}
# What `auto` takes, by platform: the first that has what the model needs.
FASTEST = {"cpu": ("blockwise", "vanilla"), "gpu": ("cudnn", "sdpa", "vanilla"), "tpu": ("splash", "sdpa", "vanilla")}


class Needs(NamedTuple):
    """What a model asks of a mechanism, and where it runs.

    Attributes:
        platform: of jax: cpu, gpu, tpu.
        capability: the compute capability of an NVIDIA GPU, such as (9, 0) for H100; None elsewhere.
        length_shards: over how many devices rows are split along their length.
    """

    platform: str
    head_dim: int
    dtype: jax.typing.DTypeLike
    dropout_rate: float = 0.0
    score_cap: float | None = None
    capability: tuple[int, ...] | None = None
    length_shards: int = 1


def needs_on(mesh: Mesh, *, head_dim: int, dtype: Any, dropout_rate: float, score_cap: float | None) -> Needs:
    """Returns the needs of a model on the devices of a mesh."""
    device = mesh.devices.flat[0]
    capability = None
    if device.platform == "gpu" and device.device_kind.startswith("NVIDIA"):
        capability = tuple(map(int, device.compute_capability.split(".")))
    return Needs(device.platform, head_dim, dtype, dropout_rate, score_cap, capability, length_shards(mesh))


def visible(
    segment: Int[Array, "rows length"],
    branch: Int[Array, "rows length"],
    position: Int[Array, "rows length"] | None = None,
    window: int | None = None,
) -> Bool[Array, "rows length length"]:
    """Returns which token (second axis) sees which (third axis) in packed rows.

    A token sees earlier-or-same places of its own segment that are prompt (branch 0) or of its own branch, and with a
    `window` only those where `query position - key position < window`. Padding (segment 0) sees padding only, so no
    query is left without a key.
    """
    if window is not None and position is None:
        raise ValueError("a window is measured in positions, and none are given.")
    tokens = _tokens(segment, branch, segment if position is None else position)
    return sees(tokens, tokens, window)


def attend(
    query: Float[Array, "rows q_len heads head_dim"],
    key: Float[Array, "rows k_len kv_heads head_dim"],
    value: Float[Array, "rows k_len kv_heads head_dim"],
    mask: Bool[Array, "rows q_len k_len"],
    *,
    scale: float,
    mechanism: str,
    score_cap: float | None = None,
) -> Float[Array, "rows q_len heads head_dim"]:
    """Returns softmax(scale * query key^T) value over the keys that `mask` allows, in the dtype of `query`.

    With `score_cap` the softmax is of c * tanh(scale * query key^T / c).

    Heads share keys in groups: head h uses key-value head h // (heads / kv_heads). The softmax is float32.
    A query with no allowed key gets finite numbers of no meaning. `blockwise` and `splash` are `vanilla` here, and
    `cudnn` is `sdpa`: what they leave out is told by the layout of packed rows, not by a mask.

    Raises:
        ConfigError: a mechanism that does not exist, or a cap with one that has none.
    """
    _check(mechanism)
    if mechanism not in ("sdpa", "cudnn"):
        return masked_softmax(query, key, value, mask, scale=scale, score_cap=score_cap)
    if score_cap is not None:
        raise ConfigError(f"attn_mechanism {mechanism!r} has no cap of scores; use 'vanilla'.")
    return jax.nn.dot_product_attention(query, key, value, mask=mask[:, None], scale=scale)


def packed_attention(
    mechanism: str,
    segment: Int[Array, "rows length"],
    branch: Int[Array, "rows length"],
    position: Int[Array, "rows length"],
    *,
    scale: float,
    mesh: Mesh,
    sequences: int | None = None,
    window: int | None = None,
    score_cap: float | None = None,
    precision: str | None = None,
) -> LayerAttention:
    """Returns the attention that every layer with this window applies to rows of this layout in one forward pass.

    What depends on the layout alone is computed here, once per forward pass and not once per layer. Outputs at padding
    mean nothing. All but `vanilla` and `sdpa` ask for segments that each lie as [prompt chosen rejected], with the
    positions that go with that.

    Args:
        sequences: at most so many answers there are in all rows, or segments without one; None is no bound. For
            `cudnn` alone: the memory it takes grows with it.
        precision: for `blockwise` and the dense ones; the others go by `jax.default_matmul_precision`, where they have
            a choice.
    """
    layout = segment, branch, position
    if mechanism == "blockwise":
        return _blockwise(layout, Scores(scale, window, score_cap, precision), mesh)
    if mechanism == "cudnn":
        return _cudnn(layout, mesh, scale=scale, window=window, sequences=sequences)
    if mechanism == "splash":
        return _splash(layout, mesh, scale=scale, window=window, score_cap=score_cap)
    return _dense(layout, Scores(scale, window, score_cap, precision), mesh, fused=mechanism == "sdpa")


def resolve_mechanism(name: str, needs: Needs) -> str:
    """Returns the mechanism that `name` stands for; `auto` is the first of `FASTEST` that has what the model needs.

    Nothing is tried out.

    Raises:
        ConfigError: a name that does not exist, or a mechanism that cannot serve the model, or not on these devices.
    """
    if name == "auto":
        choices = FASTEST.get(needs.platform, ("sdpa", "vanilla"))
        return next(choice for choice in choices if _refusal(choice, needs) is None)
    _check(name)
    why = _refusal(name, needs)
    if why is not None:
        able = [repr(other) for other in MECHANISMS if _refusal(other, needs) is None]
        raise ConfigError(f"attn_mechanism {name!r} {why}. Use {' or '.join(able)}, or 'auto'.")
    return name


def _refusal(name: str, needs: Needs) -> str | None:
    """Returns why a mechanism cannot serve a model, or None where it can."""
    platform = RUNS_ON.get(name, needs.platform)
    if platform != needs.platform:
        return f"runs on {platform} only, and the devices are {needs.platform}"
    if name not in WITH_DROPOUT and needs.dropout_rate > 0:
        return f"has no dropout and attention_dropout is {needs.dropout_rate} (0 in config.json turns it off)"
    if name not in WITH_SCORE_CAP and needs.score_cap is not None:
        return f"has no cap of scores and attn_logit_softcapping is {needs.score_cap}"
    if name in RUNS_ON and needs.length_shards > 1:
        return f"takes whole rows, and sharding_axis_dims splits them over {needs.length_shards} devices (sp)"
    dtype = jnp.dtype(needs.dtype)
    if name in RUNS_ON and dtype != jnp.bfloat16 and (name, dtype) != ("cudnn", jnp.float16):
        return f"computes in bfloat16, and dtype is {dtype.name}"
    return _refusal_of_cudnn(needs) if name == "cudnn" else None


def _refusal_of_cudnn(needs: Needs) -> str | None:
    if needs.capability is None or needs.capability < (8, 0):
        return "needs an NVIDIA GPU of compute capability 8.0 (A100) or newer"
    widest = 256 if needs.capability >= (9, 0) else 128
    if needs.head_dim % 8 or needs.head_dim > widest:
        return f"takes a head_dim that is a multiple of 8 up to {widest}, and it is {needs.head_dim}"
    return None


RowLayout = tuple[jax.Array, jax.Array, jax.Array]  # segment, branch, position


def _tokens(segment: jax.Array, branch: jax.Array, position: jax.Array) -> Tokens:
    place = jnp.broadcast_to(jnp.arange(segment.shape[1]), segment.shape)
    return Tokens(segment, branch, position, place)


def _dense(layout: RowLayout, scores: Scores, mesh: Mesh, *, fused: bool) -> LayerAttention:
    """Where rows are split along their length, a device has a part of the queries and gets the keys of whole rows."""
    parts, room = length_shards(mesh), room_on(mesh.devices.flat[0].platform)

    def first(axis: str, mine: int) -> jax.Array:
        """Returns the number of the first of `mine` parts of an axis that are here."""
        return jnp.asarray(jax.lax.axis_index(RULES[axis]) * mine if parts_of(axis, mesh) > 1 else 0)

    def prepare(*layout: jax.Array) -> tuple[Tokens, Tokens, jax.Array]:
        keys = _tokens(*layout)
        rows, length = layout[0].shape
        part = length // parts
        here = partial(jax.lax.dynamic_slice_in_dim, start_index=first("length", part), slice_size=part, axis=1)
        return jax.tree.map(here, keys), keys, first("rows", rows)

    def mix(query: jax.Array, key: jax.Array, value: jax.Array, ready: Any, dropout: tuple | None = None) -> jax.Array:
        here = Layout(*ready, head=first("heads", query.shape[2]))
        how = How(scores, fused, room, 0.0 if dropout is None else dropout[1])
        return dense_attention(query, key, value, here, None if dropout is None else dropout[0], how)

    return _on_each_device(layout, mesh, prepare, mix, drops=not fused)


def _blockwise(layout: RowLayout, how: Scores, mesh: Mesh) -> LayerAttention:
    """Where rows are split along their length, a device has a part of the queries and gets the keys of whole rows."""
    parts = length_shards(mesh)

    def blocks(segment: jax.Array, branch: jax.Array, _: jax.Array) -> Blocks:
        part = jax.lax.axis_index(RULES["length"]) if parts > 1 else 0
        return query_blocks(segment, branch, part=part, parts=parts)

    def mix(query: jax.Array, key: jax.Array, value: jax.Array, blocks: Blocks) -> jax.Array:
        return blockwise_attention(query, key, value, blocks, how)

    return _on_each_device(layout, mesh, blocks, mix)


def _cudnn(layout: RowLayout, mesh: Mesh, *, scale: float, window: int | None, sequences: int | None) -> LayerAttention:
    rows, length = layout[0].shape
    mine = rows // row_shards(mesh)
    room = buckets(mine, length, mine * length if sequences is None else min(sequences, mine * length))

    def mix(query: jax.Array, key: jax.Array, value: jax.Array, apart: Sequences) -> jax.Array:
        return unshared_attention(query, key, value, apart, room, scale=scale, window=window, implementation="cudnn")

    return _on_each_device(layout, mesh, lambda segment, branch, _: take_apart(segment, branch, room), mix)


def _splash(
    layout: RowLayout, mesh: Mesh, *, scale: float, window: int | None, score_cap: float | None
) -> LayerAttention:
    # Pallas is a second of imports, and nobody else needs it.
    from easydel.splash import MULTIPLE, splash_attention

    filler = (0, 0), (0, -layout[0].shape[1] % MULTIPLE)
    interpret = mesh.devices.flat[0].platform != "tpu"  # in tests: elsewhere `resolve_mechanism` refuses it

    def mask(*layout: jax.Array) -> jax.Array:
        segment, branch, position = (jnp.pad(x, filler) for x in layout)
        return visible(segment, branch, position, window)

    def mix(query: jax.Array, key: jax.Array, value: jax.Array, mask: jax.Array) -> jax.Array:
        query_, key_, value_ = (jnp.pad(x, (*filler, (0, 0), (0, 0))) for x in (query, key, value))
        out = splash_attention(query_, key_, value_, mask, scale=scale, score_cap=score_cap, interpret=interpret)
        return out[:, : query.shape[1]]

    return _on_each_device(layout, mesh, mask, mix)


def _on_each_device(
    layout: RowLayout, mesh: Mesh, prepare: Callable[..., Any], mix: Callable[..., jax.Array], *, drops: bool = False
) -> LayerAttention:
    """Returns the attention `mix(query, key, value, prepare(*layout))` of each device's own queries and heads.

    What is prepared depends on the layout of its rows, and a kernel does not know how to be split. One that `drops`
    gets the dropout too, with the data of its key.
    """
    rows = spec_for(("rows", "keys"), layout[0].shape, mesh, name="tokens")
    each = PartitionSpec((*RULES["rows"], *RULES["length"]))
    local = partial(jax.shard_map, mesh=mesh, check_vma=False) if mesh.size > 1 else _unsharded

    def prepared(*layout: jax.Array) -> Any:
        return jax.tree.map(lambda x: x[None], prepare(*layout))

    ready = local(prepared, in_specs=(rows,) * 3, out_specs=each)(*layout)

    def attention(query: jax.Array, key: jax.Array, value: jax.Array, dropout: Dropout | None) -> jax.Array:
        if dropout is not None and not drops:
            raise ConfigError("only attn_mechanism 'vanilla' has dropout.")
        of_query, of_key = (
            spec_for(("rows", *axes, "head_dim"), x.shape, mesh, name="tokens")
            for axes, x in ((("length", "heads"), query), (("keys", "kv_heads"), key))
        )

        def mine(query: jax.Array, key: jax.Array, value: jax.Array, ready: Any, seed: jax.Array | None) -> jax.Array:
            ready = jax.tree.map(lambda x: x[0], ready)
            dropped = {} if seed is None or dropout is None else {"dropout": (seed, dropout[1])}
            return mix(query, key, value, ready, **dropped)

        seed = None if dropout is None else jax.random.key_data(dropout[0])
        specs = of_query, of_key, of_key, each, PartitionSpec()
        return local(mine, in_specs=specs, out_specs=of_query)(query, key, value, ready, seed)

    return attention


def _unsharded(function: Callable, *, in_specs: object, out_specs: object) -> Callable:
    return function


def _check(name: str) -> None:
    if name not in MECHANISMS:
        choices = ["auto", *MECHANISMS]
        raise ConfigError(
            f"attn_mechanism {name!r} is not supported.{nearest(name, choices)} Supported: {', '.join(choices)}."
        )
