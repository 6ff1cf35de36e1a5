"""Where the reference comes from, and how it follows the policy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from easydel.trainers.reference import Reference, mix
from oracles.tiny import micro_batches, tiny_pairs


def weights(seed: int) -> dict:
    random = np.random.default_rng(seed)
    return {
        "wide": jnp.asarray(random.standard_normal(50), jnp.float32),
        "narrow": jnp.asarray(random.standard_normal(50), jnp.bfloat16),
    }


@pytest.mark.parametrize("alpha", [0.0, 0.25, 0.9, 1.0])
def test_a_mix_is_the_weighted_mean_in_the_dtypes_of_the_reference(alpha):
    policy, reference = jax.tree.map(lambda x: x.astype(jnp.float32), weights(0)), weights(1)
    mixed = mix(policy, reference, alpha=alpha)
    for name, dtype in (("wide", jnp.float32), ("narrow", jnp.bfloat16)):
        assert mixed[name].dtype == dtype
        p, r = (np.asarray(tree[name], np.float64) for tree in (policy, reference))
        expected = jnp.asarray(alpha * p + (1 - alpha) * r, jnp.float32).astype(dtype)
        np.testing.assert_allclose(np.asarray(mixed[name], np.float64), np.asarray(expected, np.float64), rtol=1e-2)
        if dtype == jnp.float32:
            np.testing.assert_allclose(mixed[name], expected, rtol=1e-5, atol=1e-7)
    if alpha in (0.0, 1.0):
        np.testing.assert_array_equal(mixed["wide"], (policy if alpha else reference)["wide"])


def test_the_reference_moves_every_so_many_steps_and_leaves_the_weights_it_was_given():
    start = weights(0)
    before = jax.tree.map(np.array, start)
    reference = Reference(None, start, chunk=8, sync_steps=3, mixup_alpha=0.5)
    expected = np.array(start["wide"])
    for step in range(1, 8):
        policy = weights(step)
        reference.after_step(step, policy)
        if step in (3, 6):
            expected = 0.5 * np.asarray(policy["wide"]) + 0.5 * expected
        np.testing.assert_allclose(reference.params["wide"], expected, rtol=1e-6)
    jax.tree.map(np.testing.assert_array_equal, start, before)


def test_a_reference_that_is_not_synced_stays():
    start = weights(0)
    reference = Reference(None, start, chunk=8)
    for step in range(1, 5):
        reference.after_step(step, weights(step))
    assert reference.params is start


def test_without_a_reference_its_log_probabilities_are_zero():
    batch = micro_batches(tiny_pairs(6), 2, filler=1)
    found = Reference(None, None, chunk=8).logprobs(batch)
    assert found.dtype == jnp.float32
    np.testing.assert_array_equal(found, np.zeros((2, 4, 2)))
