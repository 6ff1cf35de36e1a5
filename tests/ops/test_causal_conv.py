"""Convolutions over packed rows: each sequence as it is alone, forward and backward, at every alignment."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from easydel.ops.causal_conv import causal_conv, links, next_conv, tail_of
from oracles.layouts import packed_row, packed_rows

LENGTH, CHANNELS = 40, 3
RANDOM = np.random.default_rng(0)
X = RANDOM.standard_normal((1, LENGTH, CHANNELS)).astype(np.float32)
PULL = RANDOM.standard_normal((1, LENGTH, CHANNELS)).astype(np.float32)
TAPS = RANDOM.standard_normal((7, CHANNELS)).astype(np.float32)


@jax.jit
def packed(taps, segment, branch):
    linked = links(segment, branch, taps.shape[0] - 1)
    out, back = jax.vjp(lambda x, taps: causal_conv(x, taps, linked), jnp.asarray(X), taps)
    return out, *back(jnp.where((segment > 0)[..., None], PULL, 0.0))


def alone(taps, row):
    """The same by the definition, a sequence at a time, in float64."""
    out, d_x, d_taps = np.zeros((LENGTH, CHANNELS)), np.zeros((LENGTH, CHANNELS)), np.zeros(taps.shape)
    for number, places in enumerate(row.sequences):
        for at in np.flatnonzero(row.own(number)):
            for distance in range(min(len(taps), at + 1)):
                read, pull = places[at - distance], PULL[0, places[at]].astype(np.float64)
                out[places[at]] += taps[-1 - distance] * X[0, read].astype(np.float64)
                d_x[read] += taps[-1 - distance] * pull
                d_taps[-1 - distance] += X[0, read] * pull
    return out, d_x, d_taps


@settings(deadline=None, max_examples=60)
@given(packed_rows(LENGTH), st.sampled_from([1, 3, 4, 7]))
def test_each_sequence_of_a_packed_row_is_convolved_as_it_is_alone(row, taps):
    out, d_x, d_taps = packed(TAPS[-taps:], row.segment[None], row.branch[None])
    expected = alone(TAPS[-taps:], row)
    real = row.segment > 0
    np.testing.assert_allclose(out[0][real], expected[0][real], atol=1e-5)
    np.testing.assert_allclose(d_x[0], expected[1], atol=1e-5)
    np.testing.assert_allclose(d_taps, expected[2], atol=1e-4)


def test_rows_do_not_see_each_other():
    row = packed_row(8, [(2, 1, 3)])
    x = jnp.asarray(X[:, :16].reshape(2, 8, CHANNELS))
    segment, branch = (np.stack([part, part]) for part in (row.segment, row.branch))
    both = causal_conv(x, TAPS[:4], links(segment, branch, 3))
    one = causal_conv(x[1:], TAPS[:4], links(segment[1:], branch[1:], 3))
    np.testing.assert_array_equal(both[1], one[0])


def test_the_sum_of_a_convolution_in_bfloat16_is_rounded_once():
    row = packed_row(8, [(4, 2, 2)])
    x, taps = (jnp.asarray(each, jnp.bfloat16) for each in (X[:, :8], TAPS[:4]))
    linked = links(row.segment[None], row.branch[None], 3)
    wide = causal_conv(x.astype(jnp.float32), taps.astype(jnp.float32), linked)
    np.testing.assert_array_equal(causal_conv(x, taps, linked), wide.astype(jnp.bfloat16))


@pytest.mark.parametrize("prompt", [1, 2, 9])
def test_a_token_more_is_what_it_is_in_the_whole_row(prompt):
    """Prompts that end together, one of them shorter than the taps."""
    segment = np.ones((2, 12), np.int32)
    segment[1, : 9 - prompt] = 0
    x = jnp.asarray(np.concatenate([X[:, :12], X[:, 20:32]]))
    whole = causal_conv(x, TAPS[:4], links(segment, 0 * segment, 3))
    tail = tail_of(x[:, :9], segment[:, :9], 3)
    for at in range(9, 12):
        out, tail = next_conv(x[:, at : at + 1], TAPS[:4], tail)
        np.testing.assert_allclose(out[:, 0], whole[:, at], atol=1e-5)


def test_a_tail_longer_than_a_row_begins_with_nothing():
    tail = tail_of(jnp.asarray(X[:, :2]), np.array([[0, 1]]), 3)
    np.testing.assert_array_equal(tail[0], [np.zeros(3), np.zeros(3), X[0, 1]])
