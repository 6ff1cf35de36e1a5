"""Unpacked sequences: every mechanism that needs them against `vanilla`, values and gradients."""

import doctest

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax._src.cudnn import fused_attention_stablehlo

from easydel.data.pack import pack, pad
from easydel.data.pair import Pair
from easydel.ops import cudnn
from easydel.ops.attention import attend
from easydel.ops.cudnn import buckets, make_unpacked, unpack, unpacked_attention
from easydel.ops.mechanism import Scores
from easydel.ops.visible import visible
from easydel.sharding import make_mesh
from oracles.pairs import pairs_of, random_pairs

PAIRS = [*pairs_of((3, 5, 9), (4, 1, 2), (1, 7, 3)), Pair([], [3, 1, 4, 1], [9, 2, 6], 3, 1, index=3)]


def layout_of(batch):
    return tuple(map(jnp.asarray, (batch.segment, batch.branch, batch.position)))


def inputs(segment, heads=4, kv_heads=2, head_dim=8):
    random = np.random.default_rng(0)
    shape = (*segment.shape, heads, head_dim)
    query, out = random.standard_normal((2, *shape)).astype(np.float32)
    key, value = random.standard_normal((2, *segment.shape, kv_heads, head_dim)).astype(np.float32)
    return query, key, value, np.where((segment > 0)[..., None, None], out, 0)


def test_examples_hold():
    assert doctest.testmod(cudnn).failed == 0


@pytest.mark.parametrize("seed", range(6))
def test_buckets_have_room_for_every_sequence_of_packed_rows(seed):
    pairs = random_pairs(40, seed, longest=300)
    batch = pack(pairs)
    room = buckets(*batch.tokens.shape, 2 * len(pairs))
    sides = ((len(pair.prompt) + len(side)) for pair in pairs for side in (pair.chosen, pair.rejected))
    by_length = sorted(sides, reverse=True)
    space = [bucket.length for bucket in room for _ in range(bucket.number)]
    assert len(space) == len(by_length)
    assert all(length <= space[rank] for rank, length in enumerate(by_length))


@pytest.mark.parametrize("window", [None, 3])
@pytest.mark.parametrize(
    "batch",
    [pack(PAIRS), pack(PAIRS, share_prompt=False), pad(PAIRS), pack(PAIRS, pad_pairs_to=9)],
    ids=["packed", "without sharing", "padded", "with padding pairs"],
)
def test_unpacked_sequences_give_the_values_and_gradients_of_a_dense_mask(batch, window):
    segment, branch, position = layout_of(batch)
    room = buckets(*segment.shape, batch.lengths.size)
    *arguments, d_out = inputs(np.asarray(segment))
    mask = visible(segment, branch, position, window)

    def ours(query, key, value):
        unpacked = unpack(segment, branch, room)
        how = {"scale": 0.3, "window": window, "implementation": "xla"}
        return unpacked_attention(query, key, value, unpacked, room, **how)

    def dense(query, key, value):
        return attend(query, key, value, mask, scale=0.3, mechanism="vanilla")

    real = np.asarray(segment) > 0
    found, wanted = (
        jax.jit(lambda *x, function=function: (function(*x), *jax.vjp(function, *x)[1](jnp.asarray(d_out))))(*arguments)
        for function in (ours, dense)
    )
    for given, expected in zip(found, wanted, strict=True):
        np.testing.assert_allclose(np.asarray(given)[real], np.asarray(expected)[real], atol=2e-5)


@pytest.mark.parametrize(("dims", "heads"), [((1, 2, 1, 1, 4), (8, 2)), ((1, 1, 1, 2, 2), (4, 4))])
def test_devices_that_share_a_row_exchange_parts_for_heads(dims, heads):
    """With two heads of keys on four devices, and two on two: as on one device."""
    batch = pack(random_pairs(5, longest=30), shards=2)
    layout = layout_of(batch)
    *arguments, d_out = inputs(np.asarray(batch.segment), *heads)

    def results(dims):
        attention = make_unpacked(
            layout, Scores(0.3, window=9), make_mesh(dims), 2 * len(batch.lengths), implementation="xla"
        )
        out, back = jax.vjp(jax.jit(lambda *x: attention(*x, None)), *map(jnp.asarray, arguments))
        return out, *back(jnp.asarray(d_out))

    for given, expected in zip(results(dims), results((1, 1, 1, 1, 1)), strict=True):
        np.testing.assert_allclose(given, expected, atol=2e-5)


def test_a_row_without_completions_is_one_sequence_wherever_its_padding_lies():
    segment = jnp.array([[0, 0, 1, 1, 1], [1, 1, 1, 1, 0]])
    room = buckets(2, 5, 2)
    unpacked = unpack(segment, jnp.zeros_like(segment), room)
    assert sorted(unpacked.lengths.tolist()) == [3, 4]
    assert (unpacked.second == -1).all()
    assert ((unpacked.first >= 0) == (segment.reshape(-1) > 0)).all()


def test_what_a_kernel_leaves_in_slots_without_a_token_reaches_nobody():
    batch = pack(PAIRS)
    segment, branch, _ = layout_of(batch)
    unpacked = unpack(segment, branch, buckets(*segment.shape, batch.lengths.size))
    taken = np.zeros(unpacked.source.size, bool)
    taken[unpacked.first[unpacked.first >= 0]] = taken[unpacked.second[unpacked.second >= 0]] = True
    slots = jnp.where(taken, 1.0, jnp.nan)[:, None]
    assert np.isfinite(cudnn._repacked(slots, unpacked)).all()
    assert np.isfinite(cudnn._unpacked_backward(unpacked, slots)[0]).all()


@pytest.mark.parametrize(("gradient_checkpointing", "passes"), [("nothing_saveable", 2), ("", 1)])
def test_attention_is_computed_again_only_where_the_layer_around_it_is(monkeypatch, gradient_checkpointing, passes):
    """Traced as for a GPU with cuDNN, which is not here: counts the calls of it."""
    monkeypatch.setattr(fused_attention_stablehlo, "check_cudnn_version", lambda: 91000)
    monkeypatch.setattr(fused_attention_stablehlo, "check_compute_capability", lambda capability: True)
    batch = pack(PAIRS)
    segment, branch, _ = layout_of(batch)
    query, key, value, pull = (jnp.asarray(x, jnp.bfloat16) for x in inputs(batch.segment))
    room = buckets(*batch.segment.shape, batch.lengths.size)
    options = {"scale": 0.3, "window": None, "implementation": "cudnn"}

    def layer(*qkv):
        return unpacked_attention(*qkv, unpack(segment, branch, room), room, **options)

    if gradient_checkpointing:
        layer = jax.checkpoint(layer, policy=getattr(jax.checkpoint_policies, gradient_checkpointing))
    gradient = jax.grad(lambda *qkv: jnp.sum(layer(*qkv) * pull), argnums=(0, 1, 2))
    text = str(jax.make_jaxpr(gradient)(query, key, value))
    assert text.count("dot_product_attention_fwd_wrapper[") == passes * len(room)
    assert text.count("dot_product_attention_bwd_wrapper[") == len(room)
