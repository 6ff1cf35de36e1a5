"""What a mechanism of attention is: what it can do, and the function that makes a layer's attention of it."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Key

from easydel.errors import ConfigError
from easydel.sharding import RULES, length_shards, parts_of, spec_for

# Masked scores are this instead of -inf, so that a query that sees nothing gets finite numbers and gradients.
MASKED = -0.7 * float(np.finfo(np.float32).max)

Dropout = tuple[Key[Array, ""], float]  # the key and the rate in (0, 1)
# A layer's attention, with the layout of the rows already in it: (query, key, value, dropout) -> mixed values.
LayerAttention = Callable[[jax.Array, jax.Array, jax.Array, Dropout | None], jax.Array]
RowLayout = tuple[jax.Array, jax.Array, jax.Array]  # segment, branch, position


class Scores(NamedTuple):
    """How scores are made; static.

    Attributes:
        scale: of query key^T.
        window: a query sees keys less than this many positions before it; None: no bound.
        cap: c of c * tanh(score / c); None: no cap.
        precision: of the matrix products, as in `jax.lax.Precision`: an argument, because the backward pass is traced
            outside of any context of the forward pass.
    """

    scale: float
    window: int | None = None
    cap: float | None = None
    precision: str | None = None


class Needs(NamedTuple):
    """What a model asks of a mechanism, and where it runs.

    Attributes:
        platform: of jax: cpu, gpu, tpu.
        capability: the compute capability of an NVIDIA GPU, such as (9, 0) for H100; None elsewhere.
        length_shards: over how many devices rows are split along their length.
        heads: those of queries and of keys on each device that has its own.
    """

    platform: str
    head_dim: int
    dtype: jax.typing.DTypeLike
    dropout_rate: float = 0.0
    score_cap: float | None = None
    capability: tuple[int, ...] | None = None
    length_shards: int = 1
    heads: tuple[int, int] = (1, 1)


class Mechanism(NamedTuple):
    """One way to compute attention on packed rows.

    Attributes:
        make: `(layout, scores, mesh, sequences) -> LayerAttention`; `sequences` bounds their number (None: no bound).
        platform: the only one that it runs on, as jax calls it; None: all.
        dtypes: those it computes in; empty: all.
        dropout: it can drop weights.
        score_cap: it can cap scores.
        dense_mask: it computes every score of a row, whoever sees it.
        jax_kernel: with a mask of its own for each query, as in generation, it is `jax.nn.dot_product_attention`.
        refuses: why it cannot serve a model for another reason, or None.
    """

    make: Callable[[RowLayout, Scores, Mesh, int | None], LayerAttention]
    platform: str | None = None
    dtypes: tuple[str, ...] = ()
    dropout: bool = False
    score_cap: bool = False
    dense_mask: bool = False
    jax_kernel: bool = False
    refuses: Callable[[Needs], str | None] = lambda needs: None

    def refusal(self, needs: Needs) -> str | None:
        """Returns why it cannot serve a model, or None where it can."""
        if self.platform not in (None, needs.platform):
            return f"runs on {self.platform} only, and the devices are {needs.platform}"
        if not self.dropout and needs.dropout_rate > 0:
            return f"has no dropout and attention_dropout is {needs.dropout_rate} (0 in config.json turns it off)"
        if not self.score_cap and needs.score_cap is not None:
            return f"has no cap of scores and attn_logit_softcapping is {needs.score_cap}"
        dtype = jnp.dtype(needs.dtype).name
        if self.dtypes and dtype not in self.dtypes:
            return f"computes in {' and '.join(self.dtypes)}, and dtype is {dtype}"
        return self.refuses(needs)


def in_precision(precision: str | None) -> AbstractContextManager[Any]:
    """Returns a context in which matrix products have the precision, None that of `jax_default_matmul_precision`.

    A gradient keeps it, but what a gradient calls anew is outside of it: such functions enter it themselves.
    """
    return nullcontext() if precision is None else jax.default_matmul_precision(precision)


def needs_on(
    mesh: Mesh,
    *,
    heads: tuple[int, int],
    head_dim: int,
    dtype: Any,
    dropout_rate: float,
    score_cap: float | None,
) -> Needs:
    """Returns the needs of a model, with these heads of queries and of keys, on the devices of a mesh."""
    device = mesh.devices.flat[0]
    capability = None
    if device.platform == "gpu" and device.device_kind.startswith("NVIDIA"):
        capability = tuple(map(int, device.compute_capability.split(".")))
    shared = heads[0] // parts_of("heads", mesh), heads[1] // parts_of("kv_heads", mesh)
    return Needs(device.platform, head_dim, dtype, dropout_rate, score_cap, capability, length_shards(mesh), shared)


def on_each_device(
    layout: RowLayout, mesh: Mesh, prepare: Callable[..., Any], mix: Callable[..., jax.Array], *, dropout: bool = False
) -> LayerAttention:
    """Returns the attention `mix(query, key, value, prepare(*layout))` of each device's own queries and heads.

    What is prepared depends on the layout of its rows, and a kernel does not know how to be split.

    Args:
        dropout: whether `mix` takes a fifth argument (data of a random key, rate) where weights are to be dropped.
    """
    rows = spec_for(("rows", "keys"), layout[0].shape, mesh, name="tokens")
    each = PartitionSpec((*RULES["rows"], *RULES["length"]))
    local = partial(jax.shard_map, mesh=mesh, check_vma=False) if mesh.size > 1 else _unsharded

    def prepared(*layout: jax.Array) -> Any:
        return jax.tree.map(lambda x: x[None], prepare(*layout))

    ready = local(prepared, in_specs=(rows,) * 3, out_specs=each)(*layout)

    def attention(query: jax.Array, key: jax.Array, value: jax.Array, drop: Dropout | None) -> jax.Array:
        if drop is not None and not dropout:
            raise ConfigError("only attn_mechanism 'vanilla' has dropout.")
        of_query = spec_for(("rows", "length", "heads", "head_dim"), query.shape, mesh, name="tokens")
        of_key = spec_for(("rows", "keys", "kv_heads", "head_dim"), key.shape, mesh, name="tokens")

        def mine(query: jax.Array, key: jax.Array, value: jax.Array, ready: Any, seed: jax.Array | None) -> jax.Array:
            ready = jax.tree.map(lambda x: x[0], ready)
            dropped = () if seed is None or drop is None else ((seed, drop[1]),)
            return mix(query, key, value, ready, *dropped)

        seed = None if drop is None else jax.random.key_data(drop[0])
        specs = of_query, of_key, of_key, each, PartitionSpec()
        return local(mine, in_specs=specs, out_specs=of_query)(query, key, value, ready, seed)

    return attention


def _unsharded(function: Callable, *, in_specs: object, out_specs: object) -> Callable:
    return function
