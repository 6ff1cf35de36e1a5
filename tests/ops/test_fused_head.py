"""The head fused with the loss against the head that computes its logits again."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from easydel.ops.fused_head import FusedHeadConfig, _ready_after, chunks_alive, fused_head_loss
from easydel.ops.head import token_statistics
from oracles.products import sizes

pytestmark = pytest.mark.exact

WIDTH, VOCAB, SLOTS = 6, 13, 24
LENGTHS = (5, 1, 7, 2, 4)  # slots of the pairs; the rest is filler
USED = sum(LENGTHS)
PAIR = np.append(np.repeat(np.arange(len(LENGTHS)), LENGTHS), [len(LENGTHS)] * (SLOTS - USED))


def loss_of(logp, pair):
    """A loss that needs the sum over all slots of a pair; its gradient by a sum is the cosine of it."""
    return jnp.sum(jnp.sin(jax.ops.segment_sum(logp, pair, num_segments=len(LENGTHS) + 1)[:-1]))


def inputs(dtype=jnp.float32):
    keys = jax.random.split(jax.random.key(0), 3)
    states = jax.random.normal(keys[0], (SLOTS, WIDTH), dtype)
    head = jax.random.normal(keys[1], (VOCAB, WIDTH), dtype)
    return states, head, jax.random.randint(keys[2], (SLOTS,), 0, VOCAB)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize(("chunk", "scale"), [(1, 1.0), (4, 1.0), (4, 3.0), (9, -0.5), (64, 1.0)])
def test_loss_and_gradients_are_those_of_logits_computed_again_however_the_loss_is_scaled(chunk, scale, dtype):
    states, head, target = inputs(dtype)
    pair, used = jnp.asarray(PAIR), jnp.asarray(USED)
    config = FusedHeadConfig(chunk, chunks_alive(max(LENGTHS), chunk), True, None, loss_of)

    def fused(states, head):
        loss, found = fused_head_loss(config, states, head, target, pair, used, pair)
        return scale * loss, found

    def again(states, head):
        found = token_statistics(states[None], target[None], head, chunk=chunk, used=USED, logit_metrics=True)
        return scale * loss_of(found.logp[0], pair), {name: x[0] for name, x in found._asdict().items()}

    (loss, values), gradients = jax.jit(jax.value_and_grad(fused, argnums=(0, 1), has_aux=True))(states, head)
    (wanted, expected), by_hand = jax.jit(jax.value_and_grad(again, argnums=(0, 1), has_aux=True))(states, head)
    np.testing.assert_allclose(loss, wanted, rtol=1e-6)
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


@pytest.mark.parametrize(("asked", "count"), [((0, 1), 3), ((0,), 2), ((1,), 2)])
def test_no_product_is_computed_for_a_gradient_that_is_not_asked_for(asked, count):
    states, head, target = inputs()
    pair = jnp.asarray(PAIR)
    config = FusedHeadConfig(4, chunks_alive(max(LENGTHS), 4), False, None, loss_of)

    def fused(states, head):
        return fused_head_loss(config, states, head, target, pair, jnp.asarray(USED), pair)[0]

    gradient = jax.grad(fused, argnums=asked)
    assert len(sizes(gradient, states, head)) == count
    both = jax.grad(fused, argnums=(0, 1))(states, head)
    for found, at in zip(gradient(states, head), asked, strict=True):
        np.testing.assert_array_equal(found, both[at])
