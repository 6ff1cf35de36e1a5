"""The three computations of preference training, each compiled once per batch shape: train, evaluate, reference.

A batch arrives with a leading `micro` axis. Accumulation is exact, not an average of averages: the gradient of the mean
over all pairs of the update is a sum over micro-batches. A loss that looks across pairs needs every log-probability
before it has any gradient; it is computed in two passes, the second of which pulls the loss's gradient with respect to
the log-probabilities back through each micro-batch (the chain rule, cut at the `[pairs, 2]` array).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Sharding
from jaxtyping import Array, Float, Int, Key, PyTree

from easydel.data.pack import Batch
from easydel.logprobs import CompletionLogprobs, Decoder, LossOf, completion_logprobs, completion_loss
from easydel.losses import Logps, Scalar
from easydel.models.decoder import COMPILER_OPTIONS
from easydel.trainers.metrics import AUXILIARY, Sums, pair_sums
from easydel.trainers.objective import Objective, PairFacts, mean_chosen_length, pair_facts
from easydel.trainers.train_state import TrainState, shardings, with_rewards
from easydel.trainers.trainable import ALL_TRAINED, Partition

ReferenceLogps = Float[Array, "micro pairs 2"]


@dataclass(frozen=True, eq=False)
class Forward:
    """A model, and how its log-probabilities are computed. Static, closed over when a step is compiled.

    Attributes:
        decoder: the model, called with its parameters.
        longest: the max completion tokens of a pair, where head and loss are fused in training, which the objective
            must allow (`Objective.pair_by_pair`); None where they are not.
        chunk, logit_metrics, collision, ld_alpha, routing: see `logprobs.completion_logprobs`.
    """

    decoder: Decoder
    chunk: int
    logit_metrics: bool = False
    collision: bool = False
    ld_alpha: float | None = None
    routing: bool = False
    longest: int | None = None

    def logprobs(self, params: PyTree, batch: Batch, dropout_key: Key[Array, ""] | None = None) -> CompletionLogprobs:
        """Returns the log-probabilities of one micro-batch."""
        return completion_logprobs(
            self.decoder,
            params,
            batch,
            chunk=self.chunk,
            logit_metrics=self.logit_metrics,
            collision=self.collision,
            ld_alpha=self.ld_alpha,
            routing=self.routing,
            dropout_key=dropout_key,
        )

    def loss(
        self, params: PyTree, batch: Batch, loss_of: LossOf, given: Any, dropout_key: Key[Array, ""] | None = None
    ) -> tuple[Float[Array, ""], CompletionLogprobs]:
        """Returns `loss_of(log-probabilities, given)` of one micro-batch, with its gradient, and these."""
        if self.longest is None:
            out = self.logprobs(params, batch, dropout_key)
            return loss_of(out, given), out
        return completion_loss(
            self.decoder,
            params,
            batch,
            loss_of,
            given,
            max_slots=self.longest,
            chunk=self.chunk,
            logit_metrics=self.logit_metrics,
            dropout_key=dropout_key,
        )


EvaluationStep = Callable[[PyTree, Batch, ReferenceLogps], tuple[Sums, CompletionLogprobs]]
TrainStep = jax.stages.Wrapped  # (TrainState, Batch, ReferenceLogps, frozen weights) -> (TrainState, Sums)
ReferenceStep = jax.stages.Wrapped  # (weights, Batch) -> ReferenceLogps


def make_train_step(
    forward: Forward,
    objective: Objective,
    optimizer: optax.GradientTransformation,
    like: TrainState,
    *,
    dropout: bool,
    partition: Partition = ALL_TRAINED,
) -> TrainStep:
    """Returns the compiled `(state, batch, reference, frozen) -> (state, sums)`: one update on one global batch.

    The state given is consumed (its buffers are donated); the one returned lies on the devices as `like` does. `frozen`
    are the weights that `partition` leaves out of the state: they get no gradient and do not change. Where loss or
    gradient is not finite, the weights and the optimizer stay as they were, the step still counts, and
    `sums["skipped"]` is 1.
    """

    def train_step(
        state: TrainState, batch: Batch, reference: ReferenceLogps, frozen: PyTree | None = None
    ) -> tuple[TrainState, Sums]:
        keys = _dropout_keys(state, micro=batch.tokens.shape[0]) if dropout else None
        shift = state.rewards.mean if objective.running_shift else 0.0
        whole = partial(partition.beside, frozen=frozen or {})
        gradient, out, losses = loss_and_gradient(
            forward, objective, state.params, batch, reference, shift, keys, whole=whole
        )
        out, reference, lengths = flat((out, reference, batch.lengths))
        sums = pair_sums(out, reference, lengths, losses, beta=objective.beta)
        if objective.balance is not None:
            sums[AUXILIARY] = sums["pairs"] * objective.auxiliary(out)
        # In float32 whatever the weights are: the squares of float16 numbers are soon 0 or infinite.
        norm = optax.tree.norm(jax.tree.map(lambda x: x.astype(jnp.float32), gradient))
        finite = jnp.isfinite(norm) & jnp.isfinite(sums["loss"])  # of the real pairs: that of padding may be 0 / 0
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        updated = (params, opt_state, with_rewards(state.rewards, sums))
        params, opt_state, rewards = jax.tree.map(
            lambda new, old: jnp.where(finite, new, old), updated, (state.params, state.opt_state, state.rewards)
        )
        sums |= {"grad_norm": norm, "skipped": 1.0 - finite.astype(jnp.float32)}
        return TrainState(state.step + 1, params, opt_state, state.key, rewards), sums

    places = (shardings(like), None)
    return jax.jit(train_step, donate_argnums=0, out_shardings=places, compiler_options=COMPILER_OPTIONS)


def make_evaluation_step(forward: Forward, *, beta: float) -> EvaluationStep:
    """Returns the compiled `(params, batch, reference) -> (sums, log-probabilities)`: no update, no dropout.

    The loss is not among the sums: it may depend on all pairs of the set, see `evaluation.evaluate`.
    """

    def evaluation_step(params: PyTree, batch: Batch, reference: ReferenceLogps) -> tuple[Sums, CompletionLogprobs]:
        out, flat_reference, lengths = flat((_each(forward, params, batch), reference, batch.lengths))
        return pair_sums(out, flat_reference, lengths, jnp.zeros(len(lengths)), beta=beta), out

    return jax.jit(evaluation_step, compiler_options=COMPILER_OPTIONS)


def make_reference_step(
    decoder: Decoder, *, chunk: int, ld_alpha: float | None = None, place: Sharding | None = None
) -> ReferenceStep:
    """Returns the compiled `(params, batch) -> log-probabilities` of a reference model.

    It is the policy's own code with the policy's chunking: equal weights give equal numbers, so that the loss of the
    first step is exactly its known value.
    """
    forward = Forward(decoder, chunk=chunk, ld_alpha=ld_alpha)

    def reference_step(params: PyTree, batch: Batch) -> ReferenceLogps:
        return _each(forward, params, batch).logps

    return jax.jit(reference_step, out_shardings=place, compiler_options=COMPILER_OPTIONS)


def loss_and_gradient(
    forward: Forward,
    objective: Objective,
    params: PyTree,
    batch: Batch,
    reference: ReferenceLogps,
    reward_shift: Scalar = 0.0,
    dropout_keys: Key[Array, "micro"] | None = None,
    *,
    whole: Callable[[PyTree], PyTree] = lambda params: params,
) -> tuple[PyTree, CompletionLogprobs, Float[Array, "all_pairs"]]:
    """Returns the gradient of the mean loss over all real pairs, the log-probabilities [micro pairs 2], the losses.

    The result does not depend on how the batch is split into micro-batches; only one of them is alive at a time.

    Args:
        whole: makes the parameters of the model of those that the gradient is taken by.
    """
    micro = batch.tokens.shape[0]
    total = jnp.maximum(jnp.sum(batch.lengths[:, :, 0] > 0), 1)
    per_chosen = mean_chosen_length(batch)
    loss_of = partial(_mean_loss, objective)

    if objective.across_pairs and micro > 1:
        out = _each(forward, whole(params), batch, dropout_keys)
        given = flat(reference), pair_facts(flat(batch), per_chosen, reward_shift), total
        by_out = jax.grad(loss_of)(flat(out), given)
        by_out = jax.tree.map(lambda x, like: x.reshape(like.shape), by_out, out)

        def surrogate(params, batch, key, by_out):
            products = jax.tree.map(jnp.vdot, by_out, forward.logprobs(whole(params), batch, key))
            return sum(jax.tree.leaves(products)), None

        gradient, _ = _accumulate(surrogate, params, batch, dropout_keys, by_out)
        return gradient, out, objective(flat(out), *given[:2])

    def micro_loss(params, batch, key, reference):
        given = reference, pair_facts(batch, per_chosen, reward_shift), total
        loss, out = forward.loss(whole(params), batch, loss_of, given, key)
        return loss, (out, objective(out, *given[:2]))

    gradient, (out, losses) = _accumulate(micro_loss, params, batch, dropout_keys, reference)
    return gradient, out, losses.reshape(-1)


def _mean_loss(
    objective: Objective, out: CompletionLogprobs, given: tuple[Logps, PairFacts, Int[Array, ""]]
) -> Float[Array, ""]:
    """Returns the sum of the losses of the real pairs of a micro-batch, over the number of pairs of the update."""
    reference, facts, total = given
    losses = objective(out, reference, facts)
    return jnp.sum(jnp.where(facts.lengths[:, 0] > 0, losses, 0.0)) / total.astype(losses.dtype)


def _accumulate(function: Callable, params: PyTree, batch: Batch, keys: Key[Array, "micro"] | None, extra: PyTree):
    """Returns the gradient of `sum_m function(params, batch[m], keys[m], extra[m])` and the stacked second results."""
    gradient_of = jax.grad(function, has_aux=True)
    if batch.tokens.shape[0] == 1:
        inputs = jax.tree.map(lambda x: x[0], (batch, keys, extra))
        gradient, aux = gradient_of(params, *inputs)
        return gradient, jax.tree.map(lambda x: x[None], aux)

    def add_one(total: PyTree, inputs: tuple) -> tuple[PyTree, PyTree]:
        gradient, aux = gradient_of(params, *inputs)
        return jax.tree.map(jnp.add, total, gradient), aux

    # float32 whatever the weights are: small gradients added in bfloat16 are lost.
    zeros = jax.tree.map(lambda x: jnp.zeros_like(x, jnp.float32), params)
    return jax.lax.scan(add_one, zeros, (batch, keys, extra))


def _each(
    forward: Forward, params: PyTree, batch: Batch, keys: Key[Array, "micro"] | None = None
) -> CompletionLogprobs:
    """Returns the log-probabilities of every micro-batch, one after another, stacked on a leading axis."""
    if batch.tokens.shape[0] == 1:
        out = forward.logprobs(params, *jax.tree.map(lambda x: x[0], (batch, keys)))
        return jax.tree.map(lambda x: x[None], out)
    return jax.lax.map(lambda inputs: forward.logprobs(params, *inputs), (batch, keys))


def flat(tree: Any) -> Any:
    """Returns arrays [micro pairs ...] as [all_pairs ...]."""
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), tree)


def _dropout_keys(state: TrainState, *, micro: int) -> Key[Array, "micro"]:
    return jax.random.split(jax.random.fold_in(state.key, state.step), micro)
