"""Who sees whom in packed rows."""

import jax.numpy as jnp
import numpy as np

from easydel.ops.visible import visible

SEGMENT = np.array([[1, 1, 1, 1, 1, 2, 2, 2, 0, 0]])
BRANCH = np.array([[0, 0, 1, 2, 2, 0, 1, 2, 0, 0]])
POSITION = np.array([[0, 1, 2, 2, 3, 0, 1, 1, 0, 0]])
LAYOUT = tuple(jnp.asarray(x) for x in (SEGMENT, BRANCH, POSITION))


def test_a_token_sees_the_prompt_and_its_own_branch_of_its_own_segment():
    seen = np.asarray(visible(*LAYOUT))[0]
    expected = {0: [0], 1: [0, 1], 2: [0, 1, 2], 3: [0, 1, 3], 4: [0, 1, 3, 4], 5: [5], 6: [5, 6], 7: [5, 7]}
    for place, keys in expected.items():
        assert np.flatnonzero(seen[place]).tolist() == keys


def test_padding_sees_nothing_real_and_nothing_real_sees_padding():
    seen = np.asarray(visible(*LAYOUT))[0]
    assert not seen[8:, :8].any()
    assert not seen[:8, 8:].any()


def test_a_window_is_measured_in_positions_of_the_own_sequence():
    """The last token of the rejected completion stands three places behind the prompt and two positions."""
    seen = np.asarray(visible(*LAYOUT, window=3))[0]
    expected = {2: [0, 1, 2], 3: [0, 1, 3], 4: [1, 3, 4], 7: [5, 7]}
    for place, keys in expected.items():
        assert np.flatnonzero(seen[place]).tolist() == keys
