"""The fused LM head and loss: the gradient of a chunk follows once the pairs in it are whole, from the same logits.

`easydel.ops.head` computes the logits of a chunk again for its gradient, as that waits for a loss which may look at
all pairs. The gradient of a loss that does not is known once both completions of a pair are: chunk by chunk
log-probabilities are computed and the probabilities kept, and each chunk whose pairs have all ended gives its gradient
and makes room. So 6 and not 8 FLOP per token and parameter of the head are computed, and as many chunks
are alive as a pair can lie in (FusedLinearCrossEntropy of Liger Kernel, Hsu et al. 2024,
arXiv 2410.10989, does so for a loss of single tokens).
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Float, Int, Num

from easydel.ops.head import Asked, asked_for, token_values


class FusedHeadConfig(NamedTuple):
    """How the head and the loss are computed: static.

    Attributes:
        chunk: completion tokens at a time.
        alive: chunks that the tokens of a pair, one after another, can lie in.
        logit_metrics: compute entropy, mean logit and accuracy too.
        precision: of the products with the head, as in `jax.lax.Precision`.
        loss_of: `(logp [slots], given) -> scalar`, a sum of values that depend on the tokens of one pair each.
    """

    chunk: int
    alive: int
    logit_metrics: bool
    precision: str | None
    loss_of: Callable[[Float[Array, "slots"], Any], Float[Array, ""]]


def chunks_alive(max_slots: int, chunk: int) -> int:
    """Returns in how many chunks `max_slots` slots can lie, one after another.

    >>> chunks_alive(1, 512), chunks_alive(512, 512), chunks_alive(514, 512)
    (1, 2, 3)
    """
    return 1 + -(-(max_slots - 1) // chunk)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def fused_head_loss(
    config: FusedHeadConfig,
    states: Float[Array, "slots embed"],
    head: Float[Array, "vocab embed"],
    target: Int[Array, "slots"],
    pair: Int[Array, "slots"],
    used: Int[Array, ""],
    given: Any,
) -> tuple[Float[Array, ""], dict[str, Float[Array, "slots"]]]:
    """Returns the loss, and the statistics of `head.TokenStatistics` by name, which carry no gradient.

    The gradient by `states` and `head`, where one is asked for, is made beside the loss and multiplied by the cotangent
    that comes back.

    Args:
        pair: which pair a slot belongs to; the slots of a pair lie one after another, padding at the end.
        used: slots before the padding.
        given: what `config.loss_of` needs besides; it gets no gradient.
    """
    return _loss_and_gradient(config, Asked(None, None), states, head, target, pair, used, given)[0]


def _forward(
    config: FusedHeadConfig, states: Any, head: Any, *others: Any
) -> tuple[tuple[Array, dict[str, Array]], Asked]:
    """Takes leaves that say whether their gradient is asked for."""
    values = jax.tree.map(lambda leaf: leaf.value, others)
    return _loss_and_gradient(config, asked_for(states, head), states.value, head.value, *values)


def _loss_and_gradient(
    config: FusedHeadConfig,
    asked: Asked,
    states: Array,
    head: Array,
    target: Array,
    pair: Array,
    used: Array,
    given: Any,
) -> tuple[tuple[Array, dict[str, Array]], Asked]:
    slots, chunk = target.size, min(config.chunk, target.size)
    of_states, of_target = _chunked(states, chunk), _chunked(target, chunk)
    weights = head.astype(states.dtype)
    mean_weights = jnp.mean(head.astype(jnp.float32), axis=0)
    ready = _ready_after(pair, used, chunk)
    product = partial(jnp.einsum, precision=config.precision, preferred_element_type=jnp.float32)
    names = ("logp", "entropy", "mean_logit", "correct") if config.logit_metrics else ("logp",)
    vocab, embed = head.shape
    gradient_of = jax.grad(config.loss_of)

    def joined(chunks: Array) -> Array:
        return chunks.reshape(-1)[:slots]

    def forward(at: Array, done: dict[str, Array], kept: Array) -> tuple[dict[str, Array], Array]:
        logits = product("ce,ve->cv", of_states[at], weights)
        values = token_values(logits, of_target[at], of_states[at], mean_weights, logit_metrics=config.logit_metrics)
        probabilities = jnp.exp(logits - values["log_partition"][:, None])
        kept = jax.lax.dynamic_update_index_in_dim(kept, probabilities, at % config.alive, axis=0)
        return {name: done[name].at[at].set(values[name]) for name in names}, kept

    def backward(at: Array, d_logp: Array, kept: Array, sums: Asked) -> Asked:
        d_states, d_head = sums
        onehot = jnp.arange(vocab) == of_target[at][:, None]
        d_logits = (d_logp[at][:, None] * (onehot.astype(jnp.float32) - kept[at % config.alive])).astype(states.dtype)
        if d_states is not None:
            d_states = d_states.at[at].set(jnp.einsum("cv,ve->ce", d_logits, weights, precision=config.precision))
        if d_head is not None:
            d_head = d_head + product("cv,ce->ev", d_logits, of_states[at])
        return Asked(d_states, d_head)

    def step(at: Array, carry: tuple[Any, ...]) -> tuple[Any, ...]:
        done, kept, sums, first = carry
        done, kept = forward(at, done, kept)
        d_logp = _chunked(gradient_of(joined(done["logp"]), given), chunk)
        sums = jax.lax.fori_loop(first, ready[at], lambda old, so_far: backward(old, d_logp, kept, so_far), sums)
        return done, kept, sums, ready[at]

    done = dict.fromkeys(names, jnp.zeros(of_target.shape, jnp.float32))
    kept = jnp.zeros((config.alive, chunk, vocab), jnp.float32)
    sums = Asked(
        None if asked.states is None else jnp.zeros_like(of_states),
        None if asked.head is None else jnp.zeros((embed, vocab), jnp.float32),
    )
    count = (used + chunk - 1) // chunk
    done, _, (d_states, d_head), _ = jax.lax.fori_loop(0, count, step, (done, kept, sums, jnp.asarray(0)))
    statistics = {name: joined(x) for name, x in done.items()}
    loss = config.loss_of(statistics["logp"], given)
    d_states = None if d_states is None else d_states.reshape(-1, embed)[:slots]
    return (loss, statistics), Asked(d_states, None if d_head is None else d_head.T.astype(head.dtype))


def _backward(config: FusedHeadConfig, gradient: Asked, cotangent: tuple[Any, Any]) -> tuple[Any, ...]:
    of_loss, _ = cotangent  # the statistics carry none
    if isinstance(of_loss, SymbolicZero):
        return (None,) * 6
    return *(None if each is None else each * of_loss.astype(each.dtype) for each in gradient), None, None, None, None


fused_head_loss.defvjp(_forward, _backward, symbolic_zeros=True)


def _ready_after(pair: Int[Array, "slots"], used: Array, chunk: int) -> Int[Array, "chunks"]:
    """Returns how many chunks, from the first on, have all of their pairs whole once a chunk is computed."""
    place = jnp.arange(pair.size)
    filled = place < used
    ends = filled & ((place + 1 >= used) | (pair != jnp.roll(pair, -1)))
    # The last slot of the pair that a slot belongs to, and of the last pair that a chunk has.
    end = jax.lax.cummin(jnp.where(ends, place, pair.size), reverse=True)
    last = _chunked(jnp.where(filled, end, -1), chunk, padding=-1).max(axis=1) // chunk
    order = jnp.arange(last.size)
    return jnp.sum((last[None, :] <= order[:, None]) & (last[None, :] >= 0), axis=1)


def _chunked(x: Num[Array, "slots ..."], chunk: int, padding: int = 0) -> Num[Array, "chunks chunk ..."]:
    padded = jnp.pad(x, ((0, -x.shape[0] % chunk), *((0, 0) for _ in x.shape[1:])), constant_values=padding)
    return padded.reshape(-1, chunk, *x.shape[1:])
