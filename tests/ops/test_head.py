"""The chunked head: its numbers do not depend on the chunk, and its memory not on the tokens."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from easydel.logprobs import completion_logprobs
from easydel.models.causal_lm import CausalLM
from easydel.models.decoder import COMPILER_OPTIONS
from easydel.ops.head import token_statistics
from oracles.products import sizes
from oracles.tiny import VOCAB, tiny_model


@pytest.fixture(scope="module")
def model() -> CausalLM:
    return tiny_model()


def compiled(model: CausalLM, **options):
    return jax.jit(
        lambda params, batch: completion_logprobs(model.decoder, params, batch, **options),
        compiler_options=COMPILER_OPTIONS,
    )


@pytest.fixture(scope="module")
def head_inputs() -> tuple[jax.Array, np.ndarray, jax.Array]:
    """Hidden states of 2 shards of 23 slots, the targets, and a head."""
    random = np.random.default_rng(3)
    states, head = (random.standard_normal(shape).astype(np.float32) for shape in ((2, 23, 8), (VOCAB, 8)))
    return jnp.asarray(states), random.integers(0, VOCAB, (2, 23)).astype(np.int32), jnp.asarray(head)


def head_gradient(inputs, chunk: int, weights: np.ndarray, platform: str = "cpu"):
    def total(states, head):
        statistics = token_statistics(states, inputs[1], head, chunk=chunk, logit_metrics=True, platform=platform)
        return jnp.sum(weights * statistics.logp), statistics

    return jax.jit(jax.value_and_grad(total, argnums=(0, 1), has_aux=True))(inputs[0], inputs[2])


@pytest.mark.parametrize(("chunk", "platform"), [(1, "cpu"), (7, "cpu"), (23, "cpu"), (7, "tpu"), (23, "gpu")])
def test_neither_the_chunk_size_nor_the_platform_changes_values_or_gradients(head_inputs, chunk, platform):
    weights = np.random.default_rng(4).standard_normal((2, 23)).astype(np.float32)
    whole, other = head_gradient(head_inputs, 1024, weights), head_gradient(head_inputs, chunk, weights, platform)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), whole, other)


@pytest.mark.parametrize(("platform", "filled"), [("cpu", True), ("tpu", False), ("gpu", False)])
def test_the_gradient_of_the_head_is_neither_filled_nor_turned_on_accelerators(platform, filled):
    """By XLA's own description of what it runs, here on CPU, outside of the loop over chunks."""
    vocab, embed = 96, 40

    def gradient(states, head, target):
        return jax.grad(lambda head: jnp.sum(token_statistics(states, target, head, chunk=8, platform=platform).logp))(
            head
        )

    forms = ((1, 64, embed), jnp.float32), ((vocab, embed), jnp.float32), ((1, 64), jnp.int32)
    text = jax.jit(gradient).lower(*(jax.ShapeDtypeStruct(*form) for form in forms)).compile().as_text()
    sums = [
        line
        for line in text.splitlines()
        if re.match(rf"\s*(ROOT )?\S+ = f32\[1,({vocab},{embed}|{embed},{vocab})\]", line)
    ]
    assert any(" dot(" in line or "fusion" in line for line in sums)
    assert any(" broadcast(" in line for line in sums) == filled
    turned = rf" = f32\[(1,)?{vocab},{embed}\]\S* (transpose|copy)\("
    assert bool(re.search(turned, text)) == filled


def test_what_is_for_the_log_has_no_gradient_and_costs_nothing_when_off(head_inputs):
    states, target, head = head_inputs

    def shown(states):
        return sum(map(jnp.sum, token_statistics(states, target, head, chunk=7, logit_metrics=True)[1:]))

    np.testing.assert_array_equal(jax.grad(shown)(states), 0)
    on, off = (token_statistics(states, target, head, chunk=7, logit_metrics=flag) for flag in (True, False))
    np.testing.assert_array_equal(on.logp, off.logp)
    assert not any(map(jnp.any, off[1:]))


def test_the_logits_of_bfloat16_states_are_accumulated_in_float32(head_inputs):
    states, target, head = (jnp.asarray(x, jnp.bfloat16) if x.dtype == jnp.float32 else x for x in head_inputs)
    statistics = token_statistics(states, target, head, chunk=7, logit_metrics=True)
    logits = np.einsum("sce,ve->scv", np.asarray(states, np.float64), np.asarray(head, np.float64))
    logp = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    # The inputs are rounded, nothing after them.
    np.testing.assert_allclose(statistics.logp, np.take_along_axis(logp, target[..., None], -1)[..., 0], atol=1e-5)
    assert {values.dtype for values in statistics} == {np.dtype(np.float32)}


def test_the_memory_of_the_head_does_not_grow_with_vocabulary_times_tokens():
    embed, vocab, chunk = 8, 2048, 64

    def temporary_bytes(slots: int) -> int:
        def total(states, head, target):
            return jnp.sum(token_statistics(states, target, head, chunk=chunk, logit_metrics=True, collision=True).logp)

        forms = [
            jax.ShapeDtypeStruct((1, slots, embed), jnp.float32),
            jax.ShapeDtypeStruct((vocab, embed), jnp.float32),
            jax.ShapeDtypeStruct((1, slots), jnp.int32),
        ]
        compiled = jax.jit(jax.grad(total, argnums=(0, 1))).lower(*forms).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    few, many = temporary_bytes(1024), temporary_bytes(4096)
    assert many - few < 3072 * 20 * 4 * embed  # a few vectors of each slot, and not its 2,048 logits
    assert few < 8 * chunk * vocab * 4  # a handful of chunks of logits


def test_a_cap_bounds_the_logits_in_every_statistic_and_in_the_gradient(head_inputs):
    """Against the same maths on all logits at once, and jax's own derivative of it."""
    states, target, head = (jnp.asarray(x) for x in head_inputs)

    def plain(states, head):
        logits = 1.3 * jnp.tanh(jnp.einsum("sce,ve->scv", states, head) / 1.3)
        chances = jax.nn.log_softmax(logits)
        return jnp.take_along_axis(chances, target[..., None], -1)[..., 0], (logits, chances)

    def ours(states, head):
        found = token_statistics(states, target, head, chunk=4, logit_metrics=True, collision=True, cap=1.3)
        return found.logp, found

    pull = jnp.asarray(np.random.default_rng(3).standard_normal(target.shape), jnp.float32)
    (logp, (logits, chances)), found = plain(states, head), ours(states, head)[1]
    np.testing.assert_allclose(found.logp, logp, atol=1e-5)
    np.testing.assert_allclose(found.mean_logit, logits.mean(-1), atol=1e-5)
    np.testing.assert_allclose(found.entropy, -(jnp.exp(chances) * chances).sum(-1), atol=1e-5)
    np.testing.assert_allclose(found.collision, jnp.log(jnp.exp(2 * chances).sum(-1)), atol=1e-5)
    wanted, given = (
        jax.grad(lambda *x, function=function: jnp.sum(pull * function(*x)[0]), argnums=(0, 1))(states, head)
        for function in (plain, ours)
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), given, wanted)


def test_slots_that_are_not_used_are_not_computed(head_inputs):
    states, target, head = head_inputs
    whole = token_statistics(states, target, head, chunk=4, logit_metrics=True)
    part = token_statistics(states, target, head, chunk=4, used=jnp.int32(9), logit_metrics=True)
    for some, every in zip(part, whole, strict=True):
        np.testing.assert_allclose(some[:, :12], every[:, :12], rtol=1e-6)  # three chunks have one of the nine
        np.testing.assert_array_equal(some[:, 12:], 0)


@pytest.mark.parametrize(("asked", "count"), [((0, 1), 4), ((0,), 3), ((1,), 3)])
def test_no_product_is_computed_for_a_gradient_that_is_not_asked_for(head_inputs, asked, count):
    """The logits, the logits again, and one product for each gradient."""
    states, target, head = head_inputs

    def total(states, head):
        return jnp.sum(token_statistics(states, target, head, chunk=7).logp)

    gradient = jax.grad(total, argnums=asked)
    assert len(sizes(gradient, states, head)) == count
    both = jax.grad(total, argnums=(0, 1))(states, head)
    for found, at in zip(gradient(states, head), asked, strict=True):
        np.testing.assert_array_equal(found, both[at])
