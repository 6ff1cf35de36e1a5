"""Log-probabilities of the completions in a packed batch: the only place where preference training calls a model.

The head is most of the cost of a small model and all of the memory of a large vocabulary, so only the hidden states
that predict a completion token are gathered, and only one chunk of their logits exists at a time, forward and backward.
"""

from typing import NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from easydel.data.pack import Batch


@runtime_checkable
class Decoder(Protocol):
    """What is asked of a model: hidden states after the final norm, and the matrix that turns them into logits."""

    @property
    def precision(self) -> str | None: ...  # of the product with that matrix, as in `jax.lax.Precision`

    def __call__(
        self,
        params: PyTree,
        tokens: Array,
        segment: Array,
        branch: Array,
        position: Array,
        dropout_key: Array | None = None,
    ) -> Float[Array, "rows length embed"]: ...

    def head(self, params: PyTree) -> Float[Array, "vocab embed"]: ...


class TokenStatistics(NamedTuple):
    """One value per completion slot; everything but `logp` is for the log and carries no gradient."""

    logp: Float[Array, "shards slots"]
    entropy: Float[Array, "shards slots"]  # nats
    mean_logit: Float[Array, "shards slots"]  # over the vocabulary
    correct: Float[Array, "shards slots"]  # 1 where the target is the most likely token


class CompletionLogprobs(NamedTuple):
    """Sums over the tokens of each completion, float32; filler pairs have 0 everywhere."""

    logps: Float[Array, "pairs 2"]
    entropy: Float[Array, "pairs 2"]
    mean_logit: Float[Array, "pairs 2"]
    correct: Float[Array, "pairs 2"]


def completion_logprobs(
    decoder: Decoder,
    params: PyTree,
    batch: Batch,
    *,
    chunk: int = 1024,
    logit_metrics: bool = False,
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
        dropout_key: turns the model's dropout on.
    """
    tokens, segment, branch, position = map(jnp.asarray, batch[:4])
    hidden = decoder(params, tokens, segment, branch, position, dropout_key)
    shards = batch.source.shape[0]
    positions = hidden.reshape(shards, -1, hidden.shape[-1])
    states = jnp.take_along_axis(positions, batch.source[:, :, None], axis=1)
    statistics = token_statistics(
        states,
        jnp.asarray(batch.target),
        decoder.head(params),
        chunk=chunk,
        logit_metrics=logit_metrics,
        precision=decoder.precision,
    )
    sums = (sum_per_side(x, jnp.asarray(batch.sequence), pairs=batch.lengths.shape[0]) for x in statistics)
    return CompletionLogprobs(*sums)


def sum_per_side(
    per_token: Float[Array, "shards slots"], sequence: Int[Array, "shards slots"], *, pairs: int
) -> Float[Array, "pairs 2"]:
    """Returns the sum over the slots of each (pair, side); `sequence` is 2 * pair + side, 2 * pairs for filler.

    Slots are added in blocks of 64 and then the blocks: one running float32 sum over thousands of tokens would round at
    each of them, and a reward is the small difference of two such sums.
    """
    flat, segment = per_token.reshape(-1), sequence.reshape(-1)
    block = jnp.arange(flat.size) // 64
    segments, blocks = 2 * pairs + 1, -(-flat.size // 64)
    sums = jax.ops.segment_sum(flat, block * segments + segment, num_segments=blocks * segments)
    return sums.reshape(blocks, segments).sum(axis=0)[:-1].reshape(pairs, 2)


def token_statistics(
    states: Float[Array, "shards slots embed"],
    target: Int[Array, "shards slots"],
    head: Float[Array, "vocab embed"],
    *,
    chunk: int,
    logit_metrics: bool,
    precision: str | None = None,
) -> TokenStatistics:
    """Returns the log-probability of each target token, computed `chunk` slots at a time.

    The matmul takes operands in the dtype of `states` and accumulates in float32; softmax and sums are float32.
    The backward pass recomputes each chunk's logits instead of keeping them.
    """
    shards, slots, embed = states.shape
    chunk = min(chunk, slots)
    chunks = -(-slots // chunk)
    filler = chunks * chunk - slots
    states = jnp.pad(states, ((0, 0), (0, filler), (0, 0))).reshape(shards, chunks, chunk, embed)
    target = jnp.pad(target, ((0, 0), (0, filler))).reshape(shards, chunks, chunk)
    head = head.astype(states.dtype)

    @jax.checkpoint
    def one_chunk(states: Float[Array, "shards chunk embed"], target: Int[Array, "shards chunk"]) -> TokenStatistics:
        logits = jnp.einsum("sce,ve->scv", states, head, precision=precision, preferred_element_type=jnp.float32)
        log_partition = jax.nn.logsumexp(logits, axis=-1)
        chosen_logit = jnp.take_along_axis(logits, target[..., None], axis=-1)[..., 0]
        logp = chosen_logit - log_partition
        if not logit_metrics:
            zeros = jnp.zeros_like(logp)
            return TokenStatistics(logp, zeros, zeros, zeros)
        fixed = jax.lax.stop_gradient(logits)
        fixed_partition = jax.lax.stop_gradient(log_partition)
        probabilities = jnp.exp(fixed - fixed_partition[..., None])
        entropy = fixed_partition - jnp.sum(probabilities * fixed, axis=-1)
        correct = (jnp.argmax(fixed, axis=-1) == target).astype(jnp.float32)
        return TokenStatistics(logp, entropy, jnp.mean(fixed, axis=-1), correct)

    def step(carry: None, inputs: tuple[Array, Array]) -> tuple[None, TokenStatistics]:
        return carry, one_chunk(*inputs)

    _, statistics = jax.lax.scan(step, None, (states.swapaxes(0, 1), target.swapaxes(0, 1)))
    # [chunks, shards, chunk] back to [shards, slots]
    return TokenStatistics(*(s.swapaxes(0, 1).reshape(shards, -1)[:, :slots] for s in statistics))
