"""Attention of packed rows in bfloat16: how far values and gradients are from float32, and how long they take.

The oracle is `vanilla` in float32 on the same rounded inputs. `vanilla` in bfloat16 stands beside the mechanism that
`auto` takes here: what it is off by is what bfloat16 costs, whoever computes.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy.random import Generator

from benchmarks.gpu.timing import seconds
from easydel.data.batch_layout import BatchLayout
from easydel.data.loader import Position, make_loader
from easydel.data.pack import Batch
from easydel.data.pair import Pair
from easydel.ops.attention import packed_attention, resolve_mechanism
from easydel.ops.mechanism import needs_on
from easydel.sharding import make_mesh


class Heads(NamedTuple):
    """The heads of a model: queries, keys and values, and numbers in each."""

    query: int
    key: int
    size: int


# Groups of 4 and 7 queries to a key, as Llama 3 and Qwen2.5 have them, at both usual sizes.
REAL = (Heads(32, 8, 64), Heads(32, 8, 128), Heads(28, 4, 64), Heads(28, 4, 128))
SMALL = (Heads(4, 1, 8), Heads(7, 1, 8))
HEADER = ["heads", "mechanism", "values", "d query", "d key", "d value", "forward ms", "with gradient ms"]


def rows(pairs: list[Pair], heads: tuple[Heads, ...]) -> list[list[str]]:
    """Returns a row for each kind of heads and mechanism; what is off is |found - oracle| / |oracle|."""
    loader = make_loader(pairs, BatchLayout(len(pairs)), shuffle=False)
    batch = loader.batch(Position(0, 0))
    return [row for kind in heads for row in _of_heads(batch, kind)]


def _of_heads(batch: Batch, heads: Heads) -> list[list[str]]:
    mesh = make_mesh((1, 1, 1, 1, 1), jax.devices()[:1])
    of_model = {"heads": (heads.query, heads.key), "head_dim": heads.size}
    needs = needs_on(mesh, **of_model, dtype="bfloat16", dropout_rate=0.0, score_cap=None)
    places = np.asarray(batch.segment)[0]
    rng = np.random.default_rng(0)
    wide, narrow = (*places.shape, heads.query, heads.size), (*places.shape, heads.key, heads.size)
    given = [_normal(rng, shape) for shape in (wide, narrow, narrow)]
    pull = _normal(rng, wide) * (places > 0)[..., None, None].astype(np.float32)

    def computed(mechanism: str, dtype: Any) -> tuple[Any, list[float]]:
        layout = (jnp.asarray(x[0]) for x in (batch.segment, batch.branch, batch.position))
        attention = packed_attention(
            mechanism, *layout, scale=heads.size**-0.5, mesh=mesh, sequences=batch.lengths[0].size
        )

        def forward(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
            return attention(q, k, v, None) * (places > 0)[..., None, None].astype(q.dtype)  # padding has no meaning

        def backward(*qkv: jax.Array) -> tuple[jax.Array, ...]:
            value, back = jax.vjp(forward, *qkv)
            return value, *back(pull.astype(value.dtype))

        inputs = [x.astype(dtype) for x in given]
        both = jax.jit(backward)
        found = [np.asarray(x, np.float32) for x in both(*inputs)]
        return found, [seconds(jax.jit(forward), *inputs), seconds(both, *inputs)]

    oracle, _ = computed("vanilla", jnp.float32)
    table = []
    for mechanism in dict.fromkeys(("vanilla", resolve_mechanism("auto", needs))):
        found, times = computed(mechanism, jnp.bfloat16)
        off = [float(np.linalg.norm(a - b) / np.linalg.norm(b)) for a, b in zip(found, oracle, strict=True)]
        title = f"{heads.query}:{heads.key} x {heads.size}"
        table.append([title, mechanism, *(f"{x:.1e}" for x in off), *(f"{1e3 * x:.2f}" for x in times)])
    return table


def _normal(rng: Generator, shape: tuple[int, ...]) -> Float[Array, "..."]:
    """Returns normal numbers that bfloat16 holds exactly, so that all start from the same."""
    return jnp.asarray(rng.standard_normal(shape, np.float32)).astype(jnp.bfloat16).astype(jnp.float32)
