"""Log-probabilities of the completions in a packed batch: the only place where preference training calls a model.

The head is most of the cost of a small model and all of the memory of a large vocabulary, so only the hidden states
that predict a completion token are gathered, and only one chunk of their logits exists at a time, forward and backward.
The backward pass computes it again, unless loss and head are fused (`completion_loss`).
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from easydel.data.pack import Batch
from easydel.ops.fused_head import FusedHeadConfig, chunks_alive, fused_head_loss
from easydel.ops.head import TokenStatistics, token_statistics


@runtime_checkable
class Decoder(Protocol):
    """What is asked of a model: hidden states after the final norm, and the matrix that turns them into logits.

    With the hidden states comes what the routers of experts did, summed over tokens; None where there are none.
    """

    @property
    def precision(self) -> str | None: ...  # of the product with that matrix, as in `jax.lax.Precision`

    @property
    def logit_cap(self) -> float | None: ...  # see `easydel.ops.softcap`

    @property
    def platform(self) -> str: ...  # of the devices, as jax calls it

    def __call__(
        self,
        params: PyTree,
        tokens: Array,
        segment: Array,
        branch: Array,
        position: Array,
        dropout_key: Array | None = None,
        sequences: int | None = None,  # the maximum number of completions
    ) -> tuple[Float[Array, "rows length embed"], Float[Array, "2 experts"] | None]: ...

    def head(self, params: PyTree) -> Float[Array, "vocab embed"]: ...


class CompletionLogprobs(NamedTuple):
    """Sums over the tokens of each completion, float32; 0 for padding pairs.

    `routing` is of the batch and not of a pair: for each expert how often it was chosen and how likely it was, summed
    over tokens. It has an axis of parts, one for each micro-batch, to be added up; None where it was not asked for.
    """

    logps: Float[Array, "pairs 2"]  # with `ld_alpha`
    full_logps: Float[Array, "pairs 2"]  # every token counted fully
    entropy: Float[Array, "pairs 2"]
    mean_logit: Float[Array, "pairs 2"]
    correct: Float[Array, "pairs 2"]
    collision: Float[Array, "pairs 2"]
    routing: Float[Array, "parts 2 experts"] | None = None


LossOf = Callable[[CompletionLogprobs, Any], Float[Array, ""]]
"""`(log-probabilities, what it needs besides) -> loss`."""


def completion_logprobs(
    decoder: Decoder,
    params: PyTree,
    batch: Batch,
    *,
    chunk: int = 1024,
    logit_metrics: bool = False,
    collision: bool = False,
    ld_alpha: float | None = None,
    routing: bool = False,
    dropout_key: Array | None = None,
) -> CompletionLogprobs:
    """Returns `log p(completion | prompt)` of both completions of each pair of a packed batch, and what the log shows.

    `logps[i, c] = sum_t log softmax(head h_t)[y_t]` over the tokens of completion c (0 chosen) of pair i, in float32.

    Args:
        decoder: the model; called once, on the whole batch.
        params: its weights, the value to differentiate by.
        batch: see `easydel.data.pack.Batch`.
        chunk: hidden states that meet the head at a time; `chunk * vocab` float32 logits are alive at once.
        logit_metrics: compute entropy, mean logit and accuracy too; they are 0 otherwise.
        collision: compute `log sum_v p_v^2` of each token too.
        ld_alpha: weight of the tokens beyond the length of the shorter completion (LD-DPO, Liu et al. 2024); None: 1.
        routing: return what the routers of a model with experts did, with its gradient.
        dropout_key: turns the model's dropout on.
    """
    statistics, routed = completion_statistics(
        decoder, params, batch, chunk=chunk, logit_metrics=logit_metrics, collision=collision, dropout_key=dropout_key
    )
    full, entropy, mean_logit, correct, collisions = (sum_per_completion(x, batch) for x in statistics)
    logps = full if ld_alpha is None else sum_per_completion(statistics.logp, batch, ld_alpha=ld_alpha)
    parts = routed[None] if routing and routed is not None else None
    return CompletionLogprobs(logps, full, entropy, mean_logit, correct, collisions, parts)


def completion_loss(
    decoder: Decoder,
    params: PyTree,
    batch: Batch,
    loss_of: LossOf,
    given: Any,
    *,
    max_slots: int,
    chunk: int = 1024,
    logit_metrics: bool = False,
    dropout_key: Array | None = None,
) -> tuple[Float[Array, ""], CompletionLogprobs]:
    """Returns `loss_of(log-probabilities, given)` and the log-probabilities, with the head and the loss fused.

    The same as `loss_of(completion_logprobs(...), given)`, and the same gradient, for 6 instead of 8 FLOP per token and
    parameter of the head: see `easydel.ops.fused_head`. Only the loss carries a gradient. On one device, for a model
    without a cap of logits.

    Args:
        loss_of: a sum over pairs of values that depend on `logps` of one pair each; it sees no other statistic.
        given: what it needs besides; it gets no gradient.
        max_slots: the maximum number of completion tokens of a pair, both completions together.
    """
    rows = map(jnp.asarray, batch[:4])
    hidden, _ = decoder(params, *rows, dropout_key=dropout_key, sequences=batch.lengths.size)
    sequence, pairs = jnp.asarray(batch.sequence[0]), batch.lengths.shape[0]

    def loss_of_slots(logp: Float[Array, "slots"], given: tuple[Array, Any]) -> Float[Array, ""]:
        sequence, others = given
        logps = _sums(logp, sequence, pairs)
        return loss_of(CompletionLogprobs(logps, logps, *(jnp.zeros_like(logps),) * 4), others)

    fused: Any = fused_head_loss(
        FusedHeadConfig(chunk, chunks_alive(max_slots, chunk), logit_metrics, decoder.precision, loss_of_slots),
        _predecessors(batch, hidden)[0],
        decoder.head(params),
        jnp.asarray(batch.target[0]),
        sequence // 2,
        _used(batch),
        (sequence, given),
    )
    loss, found = fused
    nothing = jnp.zeros_like(batch.target[0], jnp.float32)
    full, *others = (sum_per_completion(found.get(name, nothing)[None], batch) for name in TokenStatistics._fields)
    return loss, CompletionLogprobs(full, full, *others)


def completion_statistics(
    decoder: Decoder,
    params: PyTree,
    batch: Batch,
    *,
    chunk: int = 1024,
    logit_metrics: bool = False,
    collision: bool = False,
    dropout_key: Array | None = None,
) -> tuple[TokenStatistics, Float[Array, "2 experts"] | None]:
    """Returns (the statistics of each completion position of the batch, what the routers did).

    Padding is undefined. The arguments are those of `completion_logprobs`.
    """
    rows = map(jnp.asarray, batch[:4])
    hidden, routed = decoder(params, *rows, dropout_key=dropout_key, sequences=batch.lengths.size)
    statistics = token_statistics(
        _predecessors(batch, hidden),
        jnp.asarray(batch.target),
        decoder.head(params),
        chunk=chunk,
        used=_used(batch),
        logit_metrics=logit_metrics,
        collision=collision,
        precision=decoder.precision,
        cap=decoder.logit_cap,
        platform=decoder.platform,
    )
    return statistics, routed


def _predecessors(batch: Batch, hidden: Float[Array, "rows length embed"]) -> Float[Array, "shards slots embed"]:
    """Returns the hidden state that predicts each completion slot."""
    positions = hidden.reshape(batch.source.shape[0], -1, hidden.shape[-1])
    return jnp.take_along_axis(positions, batch.source[:, :, None], axis=1)


def _used(batch: Batch) -> Int[Array, ""]:
    """Returns the maximum number of slots that a shard uses; padding is at the end."""
    return jnp.max(jnp.sum(batch.sequence < 2 * batch.lengths.shape[0], axis=1))


def sum_per_completion(
    per_token: Float[Array, "shards slots"], batch: Batch, *, ld_alpha: float | None = None
) -> Float[Array, "pairs 2"]:
    """Returns the sum over the slots of each completion of the batch.

    With `ld_alpha` the tokens of a completion beyond the length of the shorter one count `ld_alpha` times:
    `sum_{t <= s} + ld_alpha * sum_{t > s}`, s = min(|y_c|, |y_r|) (LD-DPO, Liu et al. 2024).

    Slots are added in blocks of 64 and then the blocks: one running float32 sum over thousands of tokens would round at
    each of them, and a reward is the small difference of two such sums.
    """
    pairs = batch.lengths.shape[0]
    flat, segment = per_token.reshape(-1), jnp.asarray(batch.sequence).reshape(-1)
    if ld_alpha is not None:
        shared = jnp.append(jnp.min(batch.lengths, axis=1), 0)[segment // 2]
        flat = jnp.where(batch.offset.reshape(-1) < shared, flat, ld_alpha * flat)
    return _sums(flat, segment, pairs)


def _sums(per_token: Float[Array, "slots"], sequence: Int[Array, "slots"], pairs: int) -> Float[Array, "pairs 2"]:
    block = jnp.arange(per_token.size) // 64
    segments, blocks = 2 * pairs + 1, -(-per_token.size // 64)
    sums = jax.ops.segment_sum(per_token, block * segments + sequence, num_segments=blocks * segments)
    return sums.reshape(blocks, segments).sum(axis=0)[:-1].reshape(pairs, 2)
