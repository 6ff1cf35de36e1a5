"""The head in one pass against the head that computes its logits again."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from easydel.logprobs import token_statistics
from easydel.single_pass import How, _ready_after, chunks_alive, head_in_one_pass

pytestmark = pytest.mark.exact

WIDTH, VOCAB, SLOTS = 6, 13, 24
LENGTHS = (5, 1, 7, 2, 4)  # slots of the pairs; the rest is filler
USED = sum(LENGTHS)
PAIR = np.append(np.repeat(np.arange(len(LENGTHS)), LENGTHS), [len(LENGTHS)] * (SLOTS - USED))


def whole_pairs(logp, given):
    """A gradient that needs the sum over all slots of a pair."""
    sums = jax.ops.segment_sum(logp, given, num_segments=len(LENGTHS) + 1)[:-1]
    return jnp.append(jnp.cos(sums), 0.0)[given]


def inputs(dtype=jnp.float32):
    keys = jax.random.split(jax.random.key(0), 3)
    states = jax.random.normal(keys[0], (SLOTS, WIDTH), dtype)
    head = jax.random.normal(keys[1], (VOCAB, WIDTH), dtype)
    return states, head, jax.random.randint(keys[2], (SLOTS,), 0, VOCAB)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("chunk", [1, 4, 9, 64])
def test_values_and_gradients_are_those_of_logits_computed_again(chunk, dtype):
    states, head, target = inputs(dtype)
    pair, used = jnp.asarray(PAIR), jnp.asarray(USED)
    how = How(chunk, chunks_alive(max(LENGTHS), chunk), True, None, whole_pairs)

    def summed(found, logp):
        sums = jax.ops.segment_sum(logp, pair, num_segments=len(LENGTHS) + 1)[:-1]
        return jnp.sum(jnp.sin(sums)), found

    def once(states, head):
        found = head_in_one_pass(how, states, head, target, pair, used, pair)
        return summed(found, found["logp"])

    def again(states, head):
        found = token_statistics(states[None], target[None], head, chunk=chunk, used=USED, logit_metrics=True)
        return summed({name: getattr(found, name)[0] for name in once(states, head)[1]}, found.logp[0])

    (_, values), gradients = jax.jit(jax.value_and_grad(once, argnums=(0, 1), has_aux=True))(states, head)
    (_, expected), by_hand = jax.jit(jax.value_and_grad(again, argnums=(0, 1), has_aux=True))(states, head)
    for name, found in values.items():
        np.testing.assert_allclose(found[:USED], expected[name][:USED], rtol=1e-6, atol=1e-6)
    tolerance = 1e-5 if dtype == jnp.float32 else 2e-2
    for found, wanted in zip(gradients, by_hand, strict=True):
        assert found.dtype == dtype
        found, wanted = (np.asarray(x, np.float32) for x in (found, wanted))
        np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=tolerance)


def test_a_chunk_is_ready_when_the_last_pair_in_it_has_ended():
    # Chunks of 4 of 19 slots: pairs end at slots 4, 5, 12, 14, 18.
    ready = _ready_after(jnp.asarray(PAIR), jnp.asarray(USED), 4)
    assert ready.tolist() == [0, 1, 1, 3, 5, 5]


def test_as_many_chunks_are_alive_as_the_longest_pair_can_lie_in():
    for chunk in (1, 4, 9):
        ready = np.asarray(_ready_after(jnp.asarray(PAIR), jnp.asarray(USED), chunk))
        before = np.append(0, ready[:-1])  # of the chunks that were ready, all have been used up
        alive = np.arange(len(ready)) + 1 - before
        assert alive[: -(-USED // chunk)].max() <= chunks_alive(max(LENGTHS), chunk)
