"""Choosing tokens: what may be drawn, and how often."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from easydel.models.sampling import Sampling, penalized, sample

LOGITS = jnp.log(jnp.array([[0.5, 0.3, 0.15, 0.05]]))


def drawn(count: int = 4000, **settings: float) -> np.ndarray:
    """The share of each token among `count` samples."""
    sampling = Sampling(1, 1.0, 1.0, 0, 1.0, 0, 0)._replace(**settings)
    tokens = sample(jnp.broadcast_to(LOGITS, (count, 4)), jax.random.key(0), sampling)
    return np.bincount(np.asarray(tokens), minlength=4) / count


@pytest.mark.parametrize(
    ("settings", "shares"),
    [
        ({}, [0.5, 0.3, 0.15, 0.05]),
        ({"top_k": 1}, [1, 0, 0, 0]),
        ({"top_k": 2}, [0.625, 0.375, 0, 0]),
        ({"top_k": 9}, [0.5, 0.3, 0.15, 0.05]),
        ({"top_p": 0.5}, [1, 0, 0, 0]),
        ({"top_p": 0.79}, [0.625, 0.375, 0, 0]),
        ({"top_p": 1e-6}, [1, 0, 0, 0]),
        ({"temperature": 0.5}, np.array([0.25, 0.09, 0.0225, 0.0025]) / 0.365),
        ({"top_k": 3, "top_p": 0.6}, [0.625, 0.375, 0, 0]),
    ],
)
def test_tokens_are_drawn_as_often_as_temperature_top_k_and_top_p_say(settings, shares):
    np.testing.assert_allclose(drawn(**settings), shares, atol=0.03)
    assert not drawn(**settings)[np.asarray(shares) == 0].any()


def test_a_penalty_makes_used_tokens_less_likely_whatever_their_sign():
    logits, used = jnp.array([[2.0, -2.0, 1.0]]), jnp.array([[True, True, False]])
    np.testing.assert_array_equal(penalized(logits, used, 2.0), [[1.0, -4.0, 1.0]])
