"""Blocks of packed rows: which keys they name, and attention over them against a dense mask."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from easydel.ops.attention import attend, packed_attention
from easydel.ops.blockwise import BLOCK, _over_keys, blockwise_attention, query_blocks
from easydel.ops.mechanism import Scores
from easydel.ops.visible import visible
from easydel.sharding import make_mesh
from oracles.tiny import ONE_DEVICE

# Per row, the tokens of [prompt, chosen, rejected] of each segment; the rest of the row is padding.
LENGTH = 3 * BLOCK + 20
ROWS = (
    ((40, 2 * BLOCK, 30),),  # a completion of more than two blocks, a prompt of less than one
    ((BLOCK + 5, 20, 50), (3, 1, 1), (0, 12, 9)),  # a prompt of more than a block, tiny sides, sides of their own
    ((70, 0, 0), (10, 9, 0), (8, 0, 7)),  # segments with less than three parts
    (),  # nothing but padding
)
FULL = (((BLOCK, BLOCK, BLOCK + 20),),)


def layout(rows):
    """Returns (segment, branch, position)."""
    segment, branch, position = np.zeros((3, len(rows), LENGTH), np.int32)
    for row, segments in enumerate(rows):
        end = 0
        for number, parts in enumerate(segments, start=1):
            start, end = end, end + sum(parts)
            segment[row, start:end] = number
            branch[row, start:end] = np.repeat([0, 1, 2], parts)
            prompt, chosen, rejected = parts
            position[row, start:end] = np.r_[0 : prompt + chosen, prompt : prompt + rejected]
    return jnp.asarray(segment), jnp.asarray(branch), jnp.asarray(position)


def inputs(rows, heads=4, kv_heads=2, head_dim=8, dtype=np.float32):
    rng = np.random.default_rng(0)
    query = rng.standard_normal((rows, LENGTH, heads, head_dim))
    key, value = rng.standard_normal((2, rows, LENGTH, kv_heads, head_dim))
    return tuple(jnp.asarray(x, dtype) for x in (query, key, value))


def random_rows(seed):
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(3):
        segments, room = [], LENGTH
        while True:
            parts = tuple(int(x) for x in rng.integers(0, rng.choice([4, 40, 120]), 3))
            room -= sum(parts)
            if room < 0:
                break
            segments += [parts] if sum(parts) else []
        rows.append(tuple(segments))
    return tuple(rows)


def compiled_results(mechanism, rows, arguments, scale=0.3, mesh=None, **options):
    """The values, and the gradients of their sum with random weights on real tokens."""
    segment, branch, position = layout(rows)
    weight = np.random.default_rng(1).standard_normal(arguments[0].shape) * (np.asarray(segment) > 0)[..., None, None]

    @jax.jit
    def run(*arguments):
        on = mesh or make_mesh(ONE_DEVICE)
        attention = packed_attention(mechanism, segment, branch, position, scale=scale, mesh=on, **options)
        out, pull = jax.vjp(lambda *x: attention(*x, None), *arguments)
        return out, pull(jnp.asarray(weight, out.dtype))

    out, gradients = run(*arguments)
    return np.asarray(out)[np.asarray(segment) > 0], gradients


@pytest.mark.parametrize("seed", range(20))
def test_blocks_name_each_real_query_once_and_the_keys_it_sees(seed):
    segment, branch, position = layout(random_rows(seed))
    blocks = jax.tree.map(np.asarray, query_blocks(segment, branch))
    named = np.zeros((segment.size, segment.size), int)
    for start, end, own, prompt, prompt_end in zip(*(x[: blocks.used] for x in blocks[:5]), strict=True):
        assert 0 < end - start <= BLOCK
        for query in range(start, end):
            named[query, prompt:prompt_end] += 1
            named[query, own : query + 1] += 1
    rows, length = segment.shape
    expected = np.zeros_like(named).reshape(rows, length, rows, length)
    for row, seen in enumerate(np.asarray(visible(segment, branch, position))):
        expected[row, :, row] = seen & (np.asarray(segment)[row] > 0)[:, None]
    np.testing.assert_array_equal(named, expected.reshape(named.shape))
    assert (np.diff(blocks.start[: blocks.used]) > 0).all()  # what a block writes past its end is written again


@pytest.mark.parametrize("rows", [ROWS, FULL], ids=["uneven", "full"])
@pytest.mark.parametrize(("heads", "kv_heads", "head_dim"), [(4, 2, 8), (3, 3, 16), (7, 1, 4)])
def test_values_and_gradients_are_those_of_a_dense_mask(rows, heads, kv_heads, head_dim):
    arguments = inputs(len(rows), heads, kv_heads, head_dim)
    found, expected = (compiled_results(name, rows, arguments) for name in ("blockwise", "vanilla"))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), found, expected)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("window", [1, 7, BLOCK, BLOCK + 9])
def test_values_and_gradients_within_a_window_are_those_of_a_dense_mask(window, seed):
    rows = random_rows(seed)
    arguments = inputs(len(rows))
    found, expected = (compiled_results(name, rows, arguments, window=window) for name in ("blockwise", "vanilla"))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), found, expected)


def test_values_and_gradients_of_capped_scores_are_those_of_a_dense_mask():
    """The scores reach to 5, far beyond the cap."""
    options = {"scale": 0.6, "score_cap": 1.5, "window": 40}
    arguments = inputs(len(ROWS))
    found, expected = (compiled_results(name, ROWS, arguments, **options) for name in ("blockwise", "vanilla"))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), found, expected)


def test_blocks_out_of_the_window_are_not_computed():
    """Of a prompt of 1,024 tokens, a query sees two blocks at most; the time of a loop is counted in its steps."""
    ids = jnp.ones((1, 16 * BLOCK), jnp.int32)
    blocks = query_blocks(ids, 0 * ids)

    def steps(window):
        def count(at, seen, state):
            return (state[0] + 1,)

        return [int(_over_keys(blocks, i, 1, window, count, (jnp.int32(0),))[0]) for i in range(16)]

    assert steps(None) == list(range(1, 17))
    assert steps(BLOCK) == [1] + [2] * 15


def test_values_and_gradients_in_bfloat16_are_those_of_float32_to_its_precision():
    arguments = inputs(len(ROWS), dtype=jnp.bfloat16)
    found = compiled_results("blockwise", ROWS, arguments)
    expected = compiled_results("vanilla", ROWS, tuple(x.astype(jnp.float32) for x in arguments))
    assert {x.dtype for x in jax.tree.leaves(found)} == {jnp.dtype(jnp.bfloat16)}
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a.astype(np.float32), b, rtol=0.02, atol=0.06), found, expected
    )


def test_scores_far_apart_give_the_numbers_of_a_dense_mask():
    """Their exponentials are all 0 or infinite but for the shift by the highest, and so are those of the neighbors."""
    query, key, value = inputs(len(ROWS))
    arguments = 1000 * query, key, value
    found, expected = (compiled_results(name, ROWS, arguments) for name in ("blockwise", "vanilla"))
    np.testing.assert_allclose(found[0], expected[0], atol=1e-3)  # scores of 1000 are rounded to 1e-4
    assert all(np.isfinite(x).all() for x in found[1])


def test_padding_and_other_segments_get_no_gradient():
    segment, branch, _ = layout(ROWS)

    def one_query(query, key, value):
        return blockwise_attention(query, key, value, query_blocks(segment, branch), Scores(0.3))[0, 39].sum()

    gradients = jax.jit(jax.grad(one_query, argnums=(0, 1, 2)))(*inputs(len(ROWS)))
    for gradient, places in zip(gradients, ([39], range(40), range(40)), strict=True):
        assert sorted(set(np.argwhere(np.asarray(gradient))[:, 0])) == [0]
        assert sorted(set(np.argwhere(np.asarray(gradient))[:, 1])) == list(places)


@pytest.mark.exact
def test_the_forward_pass_gives_the_same_bits_with_and_without_a_gradient():
    segment, branch, _ = layout(ROWS)
    arguments = inputs(len(ROWS))

    def mix(*arguments):
        return blockwise_attention(*arguments, query_blocks(segment, branch), Scores(0.3))

    with_gradient, _ = jax.jit(lambda *x: jax.vjp(mix, *x))(*arguments)
    np.testing.assert_array_equal(jax.jit(mix)(*arguments), with_gradient)


@pytest.mark.parametrize(
    ("mechanism", "dims"),
    [("blockwise", (2, 2, 1, 2, 1)), ("blockwise", (1, 2, 1, 1, 4)), ("vanilla", (1, 2, 1, 1, 4))],
)
def test_rows_their_length_and_heads_split_over_devices_give_the_numbers_of_one_device(mechanism, dims):
    arguments, options = inputs(len(ROWS)), {"scale": 0.3, "window": BLOCK + 9}
    found, expected = (
        compiled_results(mechanism, ROWS, arguments, mesh=make_mesh(sizes), **options) for sizes in (dims, ONE_DEVICE)
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-6), found, expected)


@pytest.mark.parametrize("seed", range(5))
def test_the_blocks_of_the_parts_of_rows_are_those_of_whole_rows_cut_where_a_part_ends(seed):
    segment, branch, _ = layout(random_rows(seed))
    parts, width = 4, LENGTH // 4

    def seen(blocks):
        start, end, *keys, _ = (x[: blocks.used] for x in jax.tree.map(np.asarray, blocks)[:6])
        return {
            query: tuple(ends)
            for first, last, *ends in zip(start, end, *keys, strict=True)
            for query in range(first, last)
        }

    joined = {}
    for part in range(parts):
        blocks = query_blocks(segment, branch, part=part, parts=parts)
        mine = seen(blocks)
        assert all(query % LENGTH // width == part for query in mine)
        start, place = (np.asarray(x)[: blocks.used] for x in (blocks.start, blocks.query))
        np.testing.assert_array_equal(place, start // LENGTH * width + start % LENGTH - part * width)
        joined |= mine
    assert joined == seen(query_blocks(segment, branch))


def test_the_precision_of_products_holds_in_the_backward_pass_too():
    segment, branch, _ = layout(FULL)
    blocks = query_blocks(segment, branch)

    def total(*arguments):
        return blockwise_attention(*arguments, blocks, Scores(0.3, precision="highest")).sum()

    text = str(jax.make_jaxpr(jax.grad(total, argnums=(0, 1, 2)))(*inputs(1)))
    products = text.count("dot_general[")
    assert products == 2 + 5  # scores and mixing; scores again and four of the chain rule
    assert text.count("precision=(Precision.HIGHEST, Precision.HIGHEST)") == products


def test_memory_does_not_grow_with_the_square_of_the_length():
    def temporary_bytes(length):
        ids = jnp.ones((1, length), jnp.int32)
        x = jax.ShapeDtypeStruct((1, length, 2, 8), jnp.float32)

        def total(query):
            return blockwise_attention(query, query, query, query_blocks(ids, 0 * ids), Scores(0.3)).sum()

        memory = jax.jit(jax.grad(total)).lower(x).compile().memory_analysis()
        assert memory is not None
        return memory.temp_size_in_bytes

    assert temporary_bytes(4096) < 2.2 * temporary_bytes(2048)


def test_a_mask_of_its_own_goes_through_vanilla():
    arguments = inputs(1)
    mask = jnp.asarray(np.random.default_rng(2).random((1, LENGTH, LENGTH)) < 0.5)
    found, expected = (attend(*arguments, mask, scale=0.3, mechanism=name) for name in ("blockwise", "vanilla"))
    np.testing.assert_array_equal(found, expected)
