"""Copies of prompts: who sees whom is what the layout of packed rows says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from easydel.data.pack import pack
from easydel.data.pair import Pair
from easydel.ops.prompt_copies import Copies, copied, copy_prompts, read
from easydel.ops.visible import visible
from oracles.pairs import random_pairs

OWN_CONTEXTS = Pair([], [3, 1, 4, 1, 5], [9, 2, 6], 3, 1, index=7)


def copied_rows(batch) -> Copies:
    """The rows of a batch, as numpy."""
    slots = 2 * batch.segment.shape[1]
    return jax.tree.map(np.asarray, copy_prompts(jnp.asarray(batch.segment), jnp.asarray(batch.branch), slots))


def seen_tokens(copies: Copies, row: int, place: int, window: int | None) -> list[int]:
    """The tokens that stand in the slots of a token's sequence from its begin, or the window's, to its own."""
    own = copies.first[row, place]
    begin = copies.begin[row, place] if window is None else max(copies.begin[row, place], own - window + 1)
    assert (copies.sequence_of_slot[row, begin : own + 1] == copies.sequence[row, place]).all()
    return sorted(copies.source[row, begin : own + 1].tolist())


@pytest.mark.parametrize("share_prompt", [True, False])
@pytest.mark.parametrize("window", [None, 3])
def test_a_token_sees_one_range_of_slots_in_which_all_it_sees_stands_once(window, share_prompt):
    batch = pack([*random_pairs(9, longest=25), OWN_CONTEXTS], share_prompt=share_prompt)
    copies = copied_rows(batch)
    seen = np.asarray(visible(*map(jnp.asarray, (batch.segment, batch.branch, batch.position)), window))
    for row, place in np.argwhere(batch.segment > 0):
        assert seen_tokens(copies, row, place, window) == np.flatnonzero(seen[row, place]).tolist()


def test_no_slot_before_or_in_a_sequence_is_of_the_same_number_and_not_in_it():
    """So that a kernel may compare numbers instead of where a sequence begins."""
    copies = copied_rows(pack(random_pairs(12, longest=40)))
    for row, place in np.argwhere(copies.sequence >= 2):
        same = np.flatnonzero(copies.sequence_of_slot[row] == copies.sequence[row, place])
        assert same[0] == copies.begin[row, place]
        assert (np.diff(same) == 1).all()


def test_padding_sees_itself_and_a_row_of_prompts_copies_nothing():
    segment = jnp.array([[0, 0, 1, 1, 1, 2, 2], [1, 1, 1, 1, 0, 0, 0]])
    copies = copy_prompts(segment, jnp.zeros_like(segment), 14)
    assert (copies.second == -1).all()
    assert (copies.first == jnp.arange(7)).all()
    padding = np.asarray(segment) == 0
    np.testing.assert_array_equal(np.asarray(copies.begin)[padding], np.asarray(copies.first)[padding])


def test_copying_has_the_gradient_of_a_read():
    batch = pack(random_pairs(6, longest=20))
    copies = copy_prompts(jnp.asarray(batch.segment), jnp.asarray(batch.branch), 2 * batch.segment.shape[1])
    x = jnp.asarray(np.random.default_rng(0).standard_normal((*batch.segment.shape, 3)), jnp.float32)
    out, back = jax.vjp(lambda x: copied(x, copies), x)
    expected, expected_back = jax.vjp(lambda x: read(x, copies.source), x)
    np.testing.assert_array_equal(out, expected)
    d_out = jnp.cos(jnp.arange(out.size, dtype=jnp.float32)).reshape(out.shape)
    np.testing.assert_allclose(back(d_out)[0], expected_back(d_out)[0], rtol=1e-6)
