"""The kernel of TPUs, interpreted here, against a dense mask."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from easydel.data.pack import pack
from easydel.ops.attention import packed_attention
from easydel.ops.mechanism import Scores
from easydel.ops.prompt_copies import copy_prompts
from easydel.ops.splash import Queries, seen_blocks, splash_attention
from easydel.ops.visible import visible
from easydel.sharding import make_mesh
from oracles.pairs import random_pairs
from oracles.tiny import ONE_DEVICE


def values_and_gradients(mechanism, batch, *, dims=ONE_DEVICE, **how):
    """What a mechanism makes of random query, key and value, and their gradients, of what stands on tokens alone."""
    layout = [jnp.asarray(x) for x in (batch.segment, batch.branch, batch.position)]
    rng = np.random.default_rng(0)
    arguments = [jnp.asarray(rng.standard_normal((*batch.segment.shape, heads, 8)), jnp.float32) for heads in (4, 2, 2)]
    real = (batch.segment > 0)[..., None, None]
    attention = packed_attention(mechanism, *layout, scale=0.3, mesh=make_mesh(dims), **how)

    def total(*arguments):
        out = attention(*arguments, None)
        return jnp.sum(jnp.where(real, out, 0) * np.cos(np.arange(8))), out

    gradients, out = jax.jit(jax.grad(total, argnums=(0, 1, 2), has_aux=True))(*arguments)
    assert all(np.isfinite(x).all() for x in (out, *gradients))
    return [np.where(real, out, 0), *gradients]


@pytest.mark.parametrize(
    ("how", "longest"),
    [({"score_cap": 2.0}, 70), ({"window": 9}, 70), ({"window": 150}, 280), ({"dims": (1, 1, 1, 2, 2)}, 70)],
    ids=["a cap", "a window", "several blocks", "rows and heads on four devices"],
)
def test_splash_has_the_values_and_gradients_of_a_dense_mask(how, longest):
    batch = pack(random_pairs(6, seed=1, longest=longest))
    expected = values_and_gradients("vanilla", batch, **{**how, "dims": ONE_DEVICE})
    for given, wanted in zip(values_and_gradients("splash", batch, **how), expected, strict=True):
        np.testing.assert_allclose(given, wanted, atol=2e-5)


@pytest.mark.parametrize("window", [None, 30])
def test_a_pair_of_blocks_is_computed_where_a_query_of_the_one_sees_a_slot_of_the_other(window):
    batch, block = pack(random_pairs(9, longest=60)), 8
    layout = [jnp.asarray(x) for x in (batch.segment, batch.branch, batch.position)]
    copies = copy_prompts(*layout[:2], 2 * batch.segment.shape[1])
    begin = copies.begin if window is None else jnp.maximum(copies.begin, copies.first - window + 1)
    found = np.asarray(seen_blocks(Queries(copies.sequence, begin, copies.first), copies.source.shape[1], block))
    by_token = np.asarray(visible(*layout, window))
    for row, source in enumerate(np.asarray(copies.source)):
        same = np.asarray(copies.sequence)[row, :, None] == np.asarray(copies.sequence_of_slot)[row]
        by_slot = same & (source >= 0) & by_token[row][:, source]
        by_slot[np.asarray(batch.segment)[row] == 0] = False
        real = by_slot.reshape(by_slot.shape[0] // block, block, -1, block).any((1, 3))
        assert (found[row] >= real).all()
        only_padding = found[row] & ~real
        assert only_padding.sum() <= (np.asarray(batch.segment)[row] == 0).sum()


def jaxprs_in(params):
    """The programs that an equation calls."""
    leaves = jax.tree.leaves(params, is_leaf=lambda x: hasattr(x, "eqns") or hasattr(x, "jaxpr"))
    return [getattr(leaf, "jaxpr", leaf) for leaf in leaves if hasattr(leaf, "eqns") or hasattr(leaf, "jaxpr")]


def largest(jaxpr) -> int:
    """The elements of the largest array that a program makes outside of its kernels."""
    sizes = [0]
    for equation in jaxpr.eqns:
        if equation.primitive.name != "pallas_call":
            sizes += [largest(inner) for inner in jaxprs_in(equation.params)]
        sizes += [getattr(out.aval, "size", 0) for out in equation.outvars]
    return max(sizes)


def test_no_array_grows_with_the_square_of_a_row():
    """But for one number for each query and block of 512 slots, which a reduction takes as it comes."""

    def step(length):
        form = jax.ShapeDtypeStruct
        queries = Queries(*(form((1, length), jnp.int32) for _ in range(3)))
        of_query, of_key = (form((1, slots, 2, 128), jnp.bfloat16) for slots in (length, 2 * length))

        def loss(query, key, value, queries, sequences):
            out = splash_attention(query, key, value, queries, sequences, scores=Scores(0.1))
            return jnp.sum(out.astype(jnp.float32))

        gradient = jax.grad(loss, argnums=(0, 1, 2))
        sequences = form((1, 2 * length), jnp.int32)
        return largest(jax.make_jaxpr(gradient)(of_query, of_key, of_key, queries, sequences).jaxpr)

    assert step(16384) == 2 * step(8192) == 2 * 2 * 8192 * 2 * 128
