"""Recurrences over packed rows, in chunks: each sequence as token by token alone, forward and backward."""

import os
import subprocess
import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from easydel.ops.recurrence import chunks_of, next_state, recurrence, unit_lower_inverse
from oracles.layouts import packed_row, packed_rows

LENGTH, KEYS, HEADS, KEY, VALUE = 40, 2, 4, 3, 5
LONGEST, MOST = 20, 16
RANDOM = np.random.default_rng(0)


def tokens(length):
    """Returns (query, key, value, decay, rate) of one row, keys of unit length."""
    query, key = (RANDOM.standard_normal((1, length, KEYS, KEY)) for _ in range(2))
    key /= np.linalg.norm(key, axis=-1, keepdims=True)
    value = RANDOM.standard_normal((1, length, HEADS, VALUE))
    decay, rate = -RANDOM.exponential(0.3, (1, length, HEADS)), RANDOM.uniform(0, 2, (1, length, HEADS))
    return tuple(x.astype(np.float32) for x in (query, key, value, decay, rate))


TOKENS = tokens(LENGTH)
PULL = RANDOM.standard_normal((1, LENGTH, HEADS, VALUE)).astype(np.float32)


def one_by_one(query, key, value, decay, rate):
    """What each token reads, and the state at the end: the recurrence as it is defined."""
    first = jnp.zeros((query.shape[0], HEADS, KEY, VALUE))

    def step(state, turn):
        out, state = next_state(*turn, state)
        return state, out

    given = jax.tree.map(lambda x: jnp.moveaxis(x, 1, 0), (query, key, value, decay, rate))
    state, out = jax.lax.scan(step, first, given)
    return jnp.moveaxis(out, 0, 1), state


@partial(jax.jit, static_argnums=(0, 1, 2))
def packed(size, on_cpu, delta, segment, branch):
    given = TOKENS if delta else (*TOKENS[:4], None)
    out, back = jax.vjp(lambda *x: recurrence(*x, chunks_of(segment, branch, size), on_cpu=on_cpu)[0], *given)
    return out, back(jnp.where((segment > 0)[..., None, None], PULL, 0.0))


@partial(jax.jit, static_argnums=0)
def alone(delta, given, pull):
    given = given if delta else (*given[:4], None)
    out, back = jax.vjp(lambda *x: one_by_one(*x)[0], *given)
    return out, back(pull)


@pytest.mark.parametrize(("size", "on_cpu"), [(4, True), (8, False), (64, True)])
@pytest.mark.parametrize("delta", [True, False])
@settings(deadline=None, max_examples=15)
@given(row=packed_rows(LENGTH))
def test_each_sequence_of_a_packed_row_is_what_it_is_alone(size, on_cpu, delta, row):
    """Sequences that end at the border of a chunk, that span several, and many in one."""
    out, gradient = packed(size, on_cpu, delta, row.segment[None], row.branch[None])
    given = [np.zeros((MOST, LONGEST, *x.shape[2:]), np.float32) for x in TOKENS]
    pull = np.zeros((MOST, LONGEST, HEADS, VALUE), np.float32)
    for number, places in enumerate(row.sequences):
        for mine, x in zip(given, TOKENS, strict=True):
            mine[number, : len(places)] = x[0, places]
        pull[number, : len(places)] = PULL[0, places] * row.own(number)[:, None, None]
    expected, d_alone = alone(delta, tuple(given), pull)
    for number, places in enumerate(row.sequences):
        np.testing.assert_allclose(out[0, places], expected[number, : len(places)], atol=1e-5)
    for found, parts in zip(jax.tree.leaves(gradient), jax.tree.leaves(d_alone), strict=True):
        summed = np.zeros(found.shape[1:])
        for number, places in enumerate(row.sequences):
            summed[places] += parts[number, : len(places)]
        np.testing.assert_allclose(found[0], summed, atol=1e-4)


@pytest.mark.parametrize("on_cpu", [True, False])
def test_a_row_leaves_the_state_behind_its_last_token_which_one_more_token_goes_on_from(on_cpu):
    """Three prompts that end together, the shortest within one chunk; behind them a token each."""
    query, key, value, decay, rate = (np.concatenate([x] * 3) for x in tokens(21))
    segment = np.array([[0] * (20 - real) + [1] * real for real in (20, 13, 3)])
    prompt = tuple(x[:, :20] for x in (query, key, value, decay, rate))
    chunks = chunks_of(segment, 0 * segment, 8)
    _, state = recurrence(*prompt, chunks, on_cpu=on_cpu, with_state=True)
    for row, real in enumerate((20, 13, 3)):
        mine = tuple(x[row : row + 1, 20 - real :] for x in (query, key, value, decay, rate))
        expected, after = one_by_one(*mine)
        _, before = one_by_one(*(x[:, :-1] for x in mine))
        np.testing.assert_allclose(state[row], before[0], atol=1e-5)
        out, found = next_state(*(x[:, -1] for x in mine), state[row : row + 1])
        np.testing.assert_allclose(out, expected[:, -1], atol=1e-5)
        np.testing.assert_allclose(found, after, atol=1e-5)


def test_rows_do_not_see_each_other():
    row = packed_row(20, [(3, 4, 5), (2, 3, 1)])
    both = tuple(x.reshape(2, 20, *x.shape[2:]) for x in TOKENS)
    segment, branch = (np.stack([part, part]) for part in (row.segment, row.branch))
    together, _ = recurrence(*both, chunks_of(segment, branch, 8), on_cpu=True)
    one, _ = recurrence(*(x[1:] for x in both), chunks_of(segment[1:], branch[1:], 8), on_cpu=True)
    np.testing.assert_allclose(together[1], one[0], atol=1e-6)


@pytest.mark.parametrize("size", [2, 4, 8, 64])
def test_the_inverse_is_exact_where_all_keys_are_alike(size):
    """Powers of this matrix are as large as binomials, 10^18 at a chunk of 64; its inverse has entries of 1 and 0."""
    lower = jnp.tril(jnp.ones((2, size, size)), -1)
    expected = np.eye(size) - np.eye(size, k=-1)
    np.testing.assert_array_equal(unit_lower_inverse(lower), np.stack([expected] * 2))


def test_the_inverse_is_that_of_numpy():
    lower = np.tril(np.random.default_rng(1).uniform(-1, 1, (3, 16, 16)), -1)
    expected = np.linalg.inv(np.eye(16) + lower)
    np.testing.assert_allclose(unit_lower_inverse(lower.astype(np.float32)), expected, rtol=1e-4, atol=1e-4)


def test_rows_and_groups_of_heads_compile_as_users_compile_them():
    """In a process of its own: what is wrong here ends it, and compiling in less time, as tests do, hides that."""
    code = """
import jax, jax.numpy as jnp
from easydel.ops.recurrence import chunks_of, recurrence
x = jnp.ones((2, 9, 2, 4)), jnp.ones((2, 9, 2, 4)), jnp.ones((2, 9, 4, 3)), -jnp.ones((2, 9, 4)), jnp.ones((2, 9, 4))
chunks = chunks_of(jnp.ones((2, 9), int), jnp.zeros((2, 9), int))
for on_cpu in (True, False):
    jax.jit(jax.value_and_grad(lambda given: recurrence(*given, chunks, on_cpu=on_cpu)[0].sum()))(x)
"""
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


@settings(deadline=None, max_examples=30)
@given(row=packed_rows(24), size=st.sampled_from([4, 8]))
def test_a_token_goes_on_from_what_is_in_its_chunk_or_from_one_state_that_comes_in(row, size):
    chunks = chunks_of(row.segment[None], row.branch[None], size)
    before = {place: places[:at] for places in row.sequences for at, place in enumerate(places)}
    for place, earlier in before.items():
        number, at = divmod(place, size)
        here = [each - number * size for each in earlier if each // size == number]
        assert np.flatnonzero(chunks.visible[number, 0, at]).tolist() == [*here, at]
        if len(earlier) and row.branch[earlier[0]] == 0:  # without a prompt there may be an empty state to go on from
            assert int(chunks.entry[number, 0, :, at].sum()) == (len(here) < len(earlier))
