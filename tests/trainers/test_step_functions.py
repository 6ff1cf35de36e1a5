"""One update: exact under accumulation, the optimizer's own, harmless when not finite, and ln 2 at the first step."""

import dataclasses
import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jaxtyping import PyTree

from easydel.data.pack import Batch
from easydel.errors import ConfigError
from easydel.logprobs import CompletionLogprobs
from easydel.models.causal_lm import CausalLM
from easydel.trainers.config import DPOConfig
from easydel.trainers.objective import Objective, make_objective, pair_facts
from easydel.trainers.step_functions import (
    Forward,
    flat,
    loss_and_gradient,
    make_evaluation_step,
    make_reference_step,
    make_train_step,
)
from easydel.trainers.train_state import TrainState, initial_state
from easydel.trainers.trainable import make_partition
from oracles.products import sizes
from oracles.tiny import micro_batches, tiny_config, tiny_model, tiny_pairs

BETA, CHUNK, RATE = 0.5, 16, 0.05
PAIRS = tiny_pairs(8)
ONE_LAYER = tiny_config(num_hidden_layers=1)  # half the time to compile; depth is for the tests of the decoder


def objective(loss_type) -> Objective:
    return make_objective(DPOConfig(loss_type=loss_type, beta=BETA))


def forward_of(model: CausalLM) -> Forward:
    return Forward(model.decoder, chunk=CHUNK)


def made_up_reference(batch: Batch) -> jax.Array:
    """Log-probabilities of no model, by the pair's number, so that they do not depend on how pairs are split."""
    per_pair = np.random.default_rng(1).normal(-12.0, 4.0, (len(PAIRS) + 1, 2)).astype(np.float32)
    return jnp.asarray(per_pair[batch.index])


@pytest.fixture(scope="module")
def model() -> CausalLM:
    return tiny_model(config=ONE_LAYER)


def fresh_state(model: CausalLM, optimizer: optax.GradientTransformation, *, seed: int = 0) -> TrainState:
    return initial_state(jax.tree.map(jnp.copy, model.params), optimizer, seed, model.decoder.mesh)


def assert_close(found: PyTree, expected: PyTree, **tolerance: float) -> None:
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **tolerance), found, expected)


@pytest.fixture(scope="module")
def gradient_of(model) -> Callable[[str, int, int], tuple[PyTree, np.ndarray]]:
    """The gradient and the losses of the real pairs, for a loss and a number of micro-batches."""

    def compute(loss_type: str, micro: int, filler: int = 0) -> tuple[PyTree, np.ndarray]:
        batch = micro_batches(PAIRS, micro, filler=filler)
        gradient, _, losses = jax.jit(loss_and_gradient, static_argnums=(0, 1))(
            forward_of(model), objective(loss_type), model.params, batch, made_up_reference(batch)
        )
        return gradient, np.asarray(losses)[batch.index.reshape(-1) >= 0]

    return compute


@pytest.mark.parametrize(("loss_type", "splits"), [("sigmoid", ((2, 1), (4, 0))), ("aot", ((4, 1),))])
def test_accumulation_changes_neither_loss_nor_gradient(gradient_of, loss_type, splits):
    gradient, losses = gradient_of(loss_type, 1)
    for micro, filler in splits:
        other, more = gradient_of(loss_type, micro, filler)
        np.testing.assert_allclose(more, losses, rtol=1e-5)
        assert_close(other, gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("micro", [1, 2])
@pytest.mark.parametrize("loss_type", ["sigmoid", "simpo", "orpo", "apo_down"])
def test_a_head_in_one_pass_changes_neither_loss_nor_gradient(model, loss_type, micro):
    batch = micro_batches(PAIRS, micro, filler=1)

    def found(longest: int | None) -> tuple[PyTree, CompletionLogprobs, jax.Array]:
        forward = Forward(model.decoder, chunk=4, logit_metrics=True, longest=longest)
        return jax.jit(loss_and_gradient, static_argnums=(0, 1))(
            forward, objective(loss_type), model.params, batch, made_up_reference(batch)
        )

    gradient, out, losses = found(int(batch.lengths.sum(axis=-1).max()))
    expected, out_again, losses_again = found(None)
    assert_close(gradient, expected, rtol=1e-5, atol=1e-7)
    assert_close((out, losses), (out_again, losses_again), rtol=1e-6, atol=1e-6)


class Trained(NamedTuple):
    """A compiled step of plain gradient descent with momentum, whose state has something in it."""

    step: Callable
    optimizer: optax.GradientTransformation


@pytest.fixture(scope="module")
def trained(model) -> Trained:
    optimizer = optax.sgd(RATE, momentum=0.9)
    like = fresh_state(model, optimizer)
    step = make_train_step(forward_of(model), objective("sigmoid"), optimizer, like, dropout=False)
    return Trained(step, optimizer)


def test_a_step_is_the_optimizers_on_the_mean_over_the_real_pairs(model, trained, gradient_of):
    gradient, losses = gradient_of("sigmoid", 1)
    batch = micro_batches(PAIRS, 2, filler=2)
    state, sums = trained.step(fresh_state(model, trained.optimizer), batch, made_up_reference(batch))
    by_hand = jax.tree.map(lambda w, g: w - RATE * g, model.params, gradient)
    assert_close(state.params, by_hand, rtol=1e-4, atol=1e-6)
    assert int(state.step) == 1
    assert float(sums["pairs"]) == 8
    assert float(sums["loss"]) == pytest.approx(losses.sum(), rel=1e-5)
    norm = math.sqrt(sum(float(jnp.sum(leaf**2)) for leaf in jax.tree.leaves(gradient)))
    assert float(sums["grad_norm"]) == pytest.approx(norm, rel=1e-5)
    assert float(sums["skipped"]) == 0


def test_a_step_that_is_not_finite_leaves_weights_and_optimizer_as_they_were(model, trained):
    batch = micro_batches(PAIRS, 2, filler=2)
    reference = made_up_reference(batch)
    state, _ = trained.step(fresh_state(model, trained.optimizer), batch, reference)
    before = jax.tree.map(np.array, (state.params, state.opt_state))
    state, sums = trained.step(state, batch, reference.at[0, 0, 0].set(jnp.nan))
    jax.tree.map(np.testing.assert_array_equal, (state.params, state.opt_state), before)
    assert float(sums["skipped"]) == 1
    assert int(state.step) == 2
    state, sums = trained.step(state, batch, reference)
    assert float(sums["skipped"]) == 0
    assert not np.array_equal(state.params["embedding"], before[0]["embedding"])


def test_a_loss_that_is_not_finite_for_filler_pairs_trains_all_the_same(model, trained):
    def per_token(policy, reference, lengths, *, beta):
        tokens = lengths.astype(policy.dtype)
        margin = policy / tokens - reference / tokens  # 0 / 0 where a pair is filler
        return -jax.nn.log_sigmoid(beta * (margin[:, 0] - margin[:, 1]))

    batch = micro_batches(PAIRS, 2, filler=2)
    step = make_train_step(
        forward_of(model),
        objective(per_token),
        trained.optimizer,
        fresh_state(model, trained.optimizer),
        dropout=False,
    )
    state, sums = step(fresh_state(model, trained.optimizer), batch, made_up_reference(batch))
    assert float(sums["skipped"]) == 0
    assert np.isfinite(float(sums["loss"]))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params))


@pytest.mark.exact
@pytest.mark.parametrize(
    ("dtype", "checkpointing"), [("float32", ""), ("bfloat16", ""), ("bfloat16", "nothing_saveable")]
)
def test_the_first_step_from_equal_weights_has_the_loss_ln_2(dtype, checkpointing):
    model = tiny_model(config=ONE_LAYER, dtype=dtype, gradient_checkpointing=checkpointing)
    optimizer = optax.sgd(RATE)
    batch = micro_batches(PAIRS, 1, filler=1)
    reference = make_reference_step(model.decoder, chunk=CHUNK)(model.params, batch)
    state = fresh_state(model, optimizer)
    step = make_train_step(forward_of(model), objective("sigmoid"), optimizer, state, dropout=False)
    _, sums = step(state, batch, reference)
    assert float(sums["loss"]) / 8 == pytest.approx(math.log(2), abs=1e-6)
    assert float(sums["rewards/accuracies"]) == 0  # equal is not greater
    assert float(sums["rewards/margins"]) == 0
    assert float(sums["grad_norm"]) > 0.01


def two_losses(model: CausalLM, *, dropout: bool) -> Callable[[int], list[float]]:
    """Returns what gives, for a seed, the losses of two steps that leave the weights where they are."""
    optimizer = optax.set_to_zero()
    batch = micro_batches(PAIRS, 1)
    like = fresh_state(model, optimizer)
    step = make_train_step(forward_of(model), objective("sigmoid"), optimizer, like, dropout=dropout)

    def losses(seed: int) -> list[float]:
        state = fresh_state(model, optimizer, seed=seed)
        state, first = step(state, batch, made_up_reference(batch))
        _, second = step(state, batch, made_up_reference(batch))
        return [float(first["loss"]), float(second["loss"])]

    return losses


def test_dropout_differs_between_steps_and_repeats_for_the_same_key_only():
    model = tiny_model(config=dataclasses.replace(ONE_LAYER, attention_dropout=0.3))
    with_dropout = two_losses(model, dropout=True)
    one, again, other = with_dropout(1), with_dropout(1), with_dropout(2)
    assert one == again
    assert len({*one, *other}) == 4
    # Without it, training sees what evaluation sees.
    batch = micro_batches(PAIRS, 1)
    evaluate = make_evaluation_step(forward_of(model), beta=BETA)
    sums, out = evaluate(model.params, batch, made_up_reference(batch))
    assert float(sums["pairs"]) == 8
    values = objective("sigmoid")(out, made_up_reference(batch)[0], pair_facts(flat(batch), 1.0))
    loss = pytest.approx(float(values.sum()), rel=1e-6)
    assert two_losses(model, dropout=False)(1) == [loss] * 2
    assert loss not in one


def test_what_keeps_experts_balanced_is_exact_under_accumulation():
    """It is no mean over pairs: the fractions of tokens that go to an expert are those of the whole batch."""
    source = {"num_hidden_layers": 1, "head_dim": 4, "num_local_experts": 4, "num_experts_per_tok": 2}
    config = tiny_config(model_type="mixtral", router_aux_loss_coef=2.0, **source)
    model = tiny_model(config=config)
    goal = make_objective(DPOConfig(beta=BETA), config.experts)
    forward = Forward(model.decoder, chunk=CHUNK, routing=True)

    def compute(micro: int):
        batch = micro_batches(PAIRS, micro, filler=1)
        gradient, out, losses = jax.jit(loss_and_gradient, static_argnums=(0, 1))(
            forward, goal, model.params, batch, made_up_reference(batch)
        )
        return gradient, goal.auxiliary(flat(out)), np.asarray(losses)[batch.index.reshape(-1) >= 0]

    one, four = compute(1), compute(4)
    assert float(one[1]) > 2.0
    assert_close(four, one, rtol=1e-4, atol=1e-5)
    plain = make_objective(DPOConfig(beta=BETA, router_aux_loss_coef=0.0), config.experts)
    assert plain.balance is None


def test_a_weight_for_the_balance_of_experts_is_refused_where_there_are_none():
    with pytest.raises(ConfigError, match=r"router_aux_loss_coef = 0\.1 has no effect: the model has no experts"):
        make_objective(DPOConfig(router_aux_loss_coef=0.1), None)


@pytest.mark.parametrize("longest", [None, 12])
def test_beside_adapters_no_product_is_computed_for_the_gradient_of_a_frozen_matrix(longest):
    """Of a head of its own too, whether it is fused with the loss or not."""
    model = tiny_model(config=tiny_config(num_hidden_layers=1, vocab_size=40, tie_word_embeddings=False)).apply_lora(4)
    partition = make_partition(DPOConfig(), model)
    forward = Forward(model.decoder, chunk=4, longest=longest)
    batch, frozen = micro_batches(PAIRS, 1), partition.frozen_part(model.params)

    def gradient(trained):
        whole = partial(partition.combine, frozen=frozen)
        reference = made_up_reference(batch)
        return loss_and_gradient(forward, objective("sigmoid"), trained, batch, reference, whole=whole)[0]

    trained = partition.trained_part(model.params)
    found = set(sizes(gradient, trained))
    matrices = {tuple(sorted(x.shape[1:])) for x in jax.tree.leaves(frozen["layers"]) if x.ndim > 2}
    assert not found & (matrices | {(16, 40)})
    assert {tuple(sorted(x.shape[1:])) for x in jax.tree.leaves(trained) if x.ndim == 3} <= found
