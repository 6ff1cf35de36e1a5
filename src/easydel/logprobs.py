"""Log-probabilities of the completions in a packed batch: the only place where preference training calls a model.

The head is most of the cost of a small model and all of the memory of a large vocabulary, so only the hidden states
that predict a completion token are gathered, and only one chunk of their logits exists at a time, forward and backward.
The backward pass computes it again, unless loss and head are fused (`completion_loss`).
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from easydel.data.pack import Batch
from easydel.single_pass import FusedHeadConfig, chunks_alive, fused_head_loss
from easydel.softcap import soft_cap, times_slope
from easydel.token_values import token_values


@runtime_checkable
class Decoder(Protocol):
    """What is asked of a model: hidden states after the final norm, and the matrix that turns them into logits."""

    @property
    def precision(self) -> str | None: ...  # of the product with that matrix, as in `jax.lax.Precision`

    @property
    def logit_cap(self) -> float | None: ...  # see `easydel.softcap`

    def __call__(
        self,
        params: PyTree,
        tokens: Array,
        segment: Array,
        branch: Array,
        position: Array,
        dropout_key: Array | None = None,
        sequences: int | None = None,  # at most so many answers there are
    ) -> Float[Array, "rows length embed"]: ...

    def with_routing(
        self,
        params: PyTree,
        tokens: Array,
        segment: Array,
        branch: Array,
        position: Array,
        dropout_key: Array | None = None,
        sequences: int | None = None,
    ) -> tuple[Float[Array, "rows length embed"], Float[Array, "2 experts"] | None]: ...  # and what its routers did

    def head(self, params: PyTree) -> Float[Array, "vocab embed"]: ...


class TokenStatistics(NamedTuple):
    """One value per completion slot; everything but `logp` carries no gradient, and is 0 where it was not asked for."""

    logp: Float[Array, "shards slots"]
    entropy: Float[Array, "shards slots"]  # nats
    mean_logit: Float[Array, "shards slots"]  # over the vocabulary
    correct: Float[Array, "shards slots"]  # 1 where the target is the most likely token
    collision: Float[Array, "shards slots"]  # log sum_v p_v^2


class CompletionLogprobs(NamedTuple):
    """Sums over the tokens of each completion, float32; filler pairs have 0 everywhere.

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
    """Returns `log p(completion | prompt)` for both sides of every pair of a packed batch, and what the log shows.

    `logps[i, s] = sum_t log softmax(head h_t)[y_t]` over the completion tokens of side s of pair i, in float32.

    Args:
        decoder: the model; called once, on the whole batch.
        params: its weights, the value to differentiate by.
        batch: see `easydel.data.pack.Batch`.
        chunk: hidden states that meet the head at a time; `chunk * vocab` float32 logits are alive at once.
        logit_metrics: compute entropy, mean logit and accuracy too; they are 0 otherwise.
        collision: compute `log sum_v p_v^2` of each token too.
        ld_alpha: weight of the tokens beyond the shorter answer's length (LD-DPO, Liu et al. 2024); None is 1.
        routing: return what the routers of a model with experts did, with its gradient.
        dropout_key: turns the model's dropout on.
    """
    tokens, segment, branch, position = map(jnp.asarray, batch[:4])
    rows = params, tokens, segment, branch, position, dropout_key, batch.lengths.size
    hidden, routed = decoder.with_routing(*rows) if routing else (decoder(*rows), None)
    statistics = _at_completions(decoder, params, batch, hidden, chunk, logit_metrics, collision)
    full, entropy, mean_logit, correct, collisions = (sum_per_side(x, batch) for x in statistics)
    logps = full if ld_alpha is None else sum_per_side(statistics.logp, batch, ld_alpha=ld_alpha)
    parts = None if routed is None else routed[None]
    return CompletionLogprobs(logps, full, entropy, mean_logit, correct, collisions, parts)


def completion_loss(
    decoder: Decoder,
    params: PyTree,
    batch: Batch,
    loss_of: LossOf,
    given: Any,
    *,
    longest: int,
    chunk: int = 1024,
    logit_metrics: bool = False,
    dropout_key: Array | None = None,
) -> tuple[Float[Array, ""], CompletionLogprobs]:
    """Returns `loss_of(log-probabilities, given)` and the log-probabilities, with the head and the loss fused.

    The same as `loss_of(completion_logprobs(...), given)`, and the same gradient, for 6 instead of 8 FLOP per token and
    parameter of the head: see `easydel.single_pass`. Only the loss carries a gradient. On one device, for a model
    without a cap of logits.

    Args:
        loss_of: a sum over pairs of values that depend on `logps` of one pair each; it sees no other statistic.
        given: what it needs besides; it gets no gradient.
        longest: completion tokens that a pair has at most, both sides together.
    """
    hidden = decoder(params, *map(jnp.asarray, batch[:4]), dropout_key, batch.lengths.size)
    sequence, pairs = jnp.asarray(batch.sequence[0]), batch.lengths.shape[0]

    def loss_of_slots(logp: Float[Array, "slots"], given: tuple[Array, Any]) -> Float[Array, ""]:
        sequence, others = given
        logps = _sums(logp, sequence, pairs)
        return loss_of(CompletionLogprobs(logps, logps, *(jnp.zeros_like(logps),) * 4), others)

    loss, found = fused_head_loss(
        FusedHeadConfig(chunk, chunks_alive(longest, chunk), logit_metrics, decoder.precision, loss_of_slots),
        _predecessors(batch, hidden)[0],
        decoder.head(params),
        jnp.asarray(batch.target[0]),
        sequence // 2,
        _used(batch),
        (sequence, given),
    )
    nothing = jnp.zeros_like(batch.target[0], jnp.float32)
    found = [found.get(name, nothing)[None] for name in TokenStatistics._fields]
    full, *others = (sum_per_side(x, batch) for x in found)
    return loss, CompletionLogprobs(full, full, *others)


def completion_statistics(decoder: Decoder, params: PyTree, batch: Batch, *, chunk: int = 1024) -> TokenStatistics:
    """Returns the log-probability of each completion slot of the batch; filler slots have no meaning."""
    hidden = decoder(params, *map(jnp.asarray, batch[:4]), sequences=batch.lengths.size)
    return _at_completions(decoder, params, batch, hidden, chunk, logit_metrics=False, collision=False)


def _at_completions(
    decoder: Decoder,
    params: PyTree,
    batch: Batch,
    hidden: Float[Array, "rows length embed"],
    chunk: int,
    logit_metrics: bool,
    collision: bool,
) -> TokenStatistics:
    return token_statistics(
        _predecessors(batch, hidden),
        jnp.asarray(batch.target),
        decoder.head(params),
        chunk=chunk,
        used=_used(batch),
        logit_metrics=logit_metrics,
        collision=collision,
        precision=decoder.precision,
        cap=decoder.logit_cap,
    )


def _predecessors(batch: Batch, hidden: Float[Array, "rows length embed"]) -> Float[Array, "shards slots embed"]:
    """Returns the hidden state that predicts each completion slot."""
    positions = hidden.reshape(batch.source.shape[0], -1, hidden.shape[-1])
    return jnp.take_along_axis(positions, batch.source[:, :, None], axis=1)


def _used(batch: Batch) -> Int[Array, ""]:
    """Returns how many slots the fullest shard uses; filler is at the end."""
    return jnp.max(jnp.sum(batch.sequence < 2 * batch.lengths.shape[0], axis=1))


def sum_per_side(
    per_token: Float[Array, "shards slots"], batch: Batch, *, ld_alpha: float | None = None
) -> Float[Array, "pairs 2"]:
    """Returns the sum over the slots of each completion of the batch.

    With `ld_alpha` the tokens of an answer beyond the length of the shorter one count `ld_alpha` times:
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


class _Head(NamedTuple):
    """How the head is computed: static, part of what is compiled."""

    chunk: int
    logit_metrics: bool
    collision: bool
    precision: str | None
    cap: float | None


def token_statistics(
    states: Float[Array, "shards slots embed"],
    target: Int[Array, "shards slots"],
    head: Float[Array, "vocab embed"],
    *,
    chunk: int,
    used: Int[Array, ""] | int | None = None,
    logit_metrics: bool = False,
    collision: bool = False,
    precision: str | None = None,
    cap: float | None = None,
) -> TokenStatistics:
    """Returns the log-probability of each target token, computed `chunk` slots at a time.

    The matmuls take operands in the dtype of `states` and accumulate in float32; softmax and sums are float32.
    The backward pass recomputes each chunk's logits instead of keeping them. Only the first `used` slots of each shard
    are looked at (None: all); beyond the last chunk that has any, the values are 0. With `cap` the logits are
    c * tanh(states head^T / c).
    """
    slots = states.shape[1]
    how = _Head(min(chunk, slots), logit_metrics, collision, precision, cap)
    return _head_statistics(how, states, head, target, jnp.asarray(slots if used is None else used))


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _head_statistics(how: _Head, states: Array, head: Array, target: Array, used: Array) -> TokenStatistics:
    return _head_forward(how, states, head, target, used)[0]


def _head_forward(
    how: _Head, states: Array, head: Array, target: Array, used: Array
) -> tuple[TokenStatistics, tuple[Array, ...]]:
    weights = head.astype(states.dtype)
    mean_weights = jnp.mean(head.astype(jnp.float32), axis=0)
    of_states, of_target = _chunked(how, states), _chunked(how, target)

    def one_chunk(at: Array, done: dict[str, Array]) -> dict[str, Array]:
        states, target = of_states[at], of_target[at]
        logits = _logits(how, states, weights)
        values = token_values(
            logits, target, states, mean_weights, logit_metrics=how.logit_metrics, capped=how.cap is not None
        )
        if how.collision:
            values["collision"] = jnp.log(
                jnp.sum(jnp.exp(2.0 * (logits - values["log_partition"][..., None])), axis=-1)
            )
        return {name: each.at[at].set(values[name]) if name in values else each for name, each in done.items()}

    nothing = jnp.zeros(of_target.shape, jnp.float32)
    done = dict.fromkeys((*TokenStatistics._fields, "log_partition"), nothing)
    done = jax.lax.fori_loop(0, _chunks(how, used), one_chunk, done)
    log_partition = done.pop("log_partition")
    statistics = TokenStatistics(**{name: _joined(x, target.shape[1]) for name, x in done.items()})
    return statistics, (states, head, target, used, log_partition)


def _head_backward(how: _Head, kept: tuple[Array, ...], cotangent: TokenStatistics) -> tuple[Array, Array, None, None]:
    """Returns the gradient by states and head: `d logits = g (onehot(target) - softmax(logits))`, times a cap's slope.

    Each shard adds up its own part of the head's gradient, so that devices talk once and not once a chunk.
    """
    states, head, target, used, log_partition = kept
    weights = head.astype(states.dtype)
    of_states, of_target, pull = (_chunked(how, x) for x in (states, target, cotangent.logp))

    def one_chunk(at: Array, done: tuple[Array, Array]) -> tuple[Array, Array]:
        by_head, by_states = done
        logits = _logits(how, of_states[at], weights)
        onehot = jnp.arange(weights.shape[0]) == of_target[at][..., None]
        by_logit = pull[at][..., None] * (onehot - jnp.exp(logits - log_partition[at][..., None]))
        by_logit = times_slope(by_logit, logits, how.cap).astype(states.dtype)
        by_state = jnp.einsum("scv,ve->sce", by_logit, weights, precision=how.precision)
        by_head += jnp.einsum(
            "scv,sce->sev", by_logit, of_states[at], precision=how.precision, preferred_element_type=jnp.float32
        )
        return by_head, by_states.at[at].set(by_state)

    # [embed vocab], as products that have to turn their larger factor are slow on CPU.
    zeros = jnp.zeros((states.shape[0], *head.shape[::-1]), jnp.float32), jnp.zeros_like(of_states)
    by_head, by_states = jax.lax.fori_loop(0, _chunks(how, used), one_chunk, zeros)
    return _joined(by_states, states.shape[1]), jnp.sum(by_head, axis=0).T.astype(head.dtype), None, None


_head_statistics.defvjp(_head_forward, _head_backward)


def _chunks(how: _Head, used: Array) -> Array:
    return (used + how.chunk - 1) // how.chunk


def _logits(how: _Head, states: Array, weights: Array) -> Float[Array, "shards chunk vocab"]:
    products = jnp.einsum("sce,ve->scv", states, weights, precision=how.precision, preferred_element_type=jnp.float32)
    return soft_cap(products, how.cap)


def _chunked(how: _Head, x: Float[Array, "shards slots ..."]) -> Float[Array, "chunks shards chunk ..."]:
    """Returns the slots in chunks, zeros at the end."""
    filler = -x.shape[1] % how.chunk
    padded = jnp.pad(x, ((0, 0), (0, filler), *((0, 0) for _ in x.shape[2:])))
    return padded.reshape(x.shape[0], -1, how.chunk, *x.shape[2:]).swapaxes(0, 1)


def _joined(x: Float[Array, "chunks shards chunk ..."], slots: int) -> Float[Array, "shards slots ..."]:
    joined = x.swapaxes(0, 1)
    return joined.reshape(joined.shape[0], -1, *joined.shape[3:])[:, :slots]
