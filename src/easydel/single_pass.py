"""The head in one pass: the gradient of a chunk follows as soon as the pairs in it are whole, from the same logits.

`easydel.logprobs` computes the logits of a chunk again for its gradient, as that waits for a loss which may look at
all pairs. The gradient of a loss that does not is known once both answers of a pair are: chunk by chunk
log-probabilities are computed and the probabilities kept, and each chunk whose pairs have all ended gives its gradient
and makes room. So 6 and not 8 FLOP go into each weight of the head for a token, and as many chunks are alive as a pair
can lie in.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from easydel.token_values import token_values


class Pull(NamedTuple):
    """The gradient of the loss by the log-probability of each slot, from the log-probabilities of all slots.

    Attributes:
        of: `(logp [slots], given) -> [slots]`. What it returns for the slots of a pair depends on that pair alone.
        given: the arrays that it needs besides.
    """

    of: Callable[[Float[Array, "slots"], Any], Float[Array, "slots"]]
    given: Any


class How(NamedTuple):
    """How the head is computed: static.

    Attributes:
        chunk: slots at a time.
        alive: chunks that the slots of a pair, one after another, can lie in.
        logit_metrics: compute entropy, mean logit and accuracy too.
        pull_of: see `Pull`.
    """

    chunk: int
    alive: int
    logit_metrics: bool
    precision: str | None
    pull_of: Callable[[Array, Any], Array]


def chunks_alive(longest: int, chunk: int) -> int:
    """Returns in how many chunks `longest` slots can lie, one after another.

    >>> chunks_alive(1, 512), chunks_alive(512, 512), chunks_alive(514, 512)
    (1, 2, 3)
    """
    return 1 + -(-(longest - 1) // chunk)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def head_in_one_pass(
    how: How,
    states: Float[Array, "slots embed"],
    head: Float[Array, "vocab embed"],
    target: Int[Array, "slots"],
    pair: Int[Array, "slots"],
    used: Int[Array, ""],
    given: Any,
) -> dict[str, Float[Array, "slots"]]:
    """Returns the statistics of `logprobs.TokenStatistics` by name, whose gradient is known to be `how.pull_of`.

    Only for what is differentiated with that very gradient: the backward pass does not look at the one it gets.

    Args:
        pair: which pair a slot belongs to; the slots of a pair lie one after another, fillers at the end.
        used: slots before the fillers.
        given: what `how.pull_of` needs.
    """
    return _forward(how, states, head, target, pair, used, given)[0]


def _forward(
    how: How, states: Array, head: Array, target: Array, pair: Array, used: Array, given: Any
) -> tuple[dict[str, Array], tuple[Array, Array]]:
    slots, chunk = target.size, min(how.chunk, target.size)
    of_states, of_target = _chunked(states, chunk), _chunked(target, chunk)
    weights = head.astype(states.dtype)
    mean_weights = jnp.mean(head.astype(jnp.float32), axis=0)
    ready = _ready_after(pair, used, chunk)
    product = partial(jnp.einsum, precision=how.precision, preferred_element_type=jnp.float32)
    names = ("logp", "entropy", "mean_logit", "correct") if how.logit_metrics else ("logp",)
    vocab, embed = head.shape

    def forward(at: Array, done: dict[str, Array], kept: Array) -> tuple[dict[str, Array], Array]:
        logits = product("ce,ve->cv", of_states[at], weights)
        values = token_values(logits, of_target[at], of_states[at], mean_weights, logit_metrics=how.logit_metrics)
        probabilities = jnp.exp(logits - values["log_partition"][:, None])
        kept = jax.lax.dynamic_update_index_in_dim(kept, probabilities, at % how.alive, axis=0)
        return {name: done[name].at[at].set(values[name]) for name in names}, kept

    def backward(at: Array, pull: Array, kept: Array, by: tuple[Array, Array]) -> tuple[Array, Array]:
        by_states, by_head = by
        onehot = jnp.arange(vocab) == of_target[at][:, None]
        by_logit = (pull[at][:, None] * (onehot - kept[at % how.alive])).astype(states.dtype)
        by_state = jnp.einsum("cv,ve->ce", by_logit, weights, precision=how.precision)
        return by_states.at[at].set(by_state), by_head + product("cv,ce->ev", by_logit, of_states[at])

    def step(at: Array, carry: tuple[Any, ...]) -> tuple[Any, ...]:
        done, kept, by, first = carry
        done, kept = forward(at, done, kept)
        pull = _chunked(how.pull_of(done["logp"].reshape(-1)[:slots], given), chunk)
        by = jax.lax.fori_loop(first, ready[at], lambda old, by: backward(old, pull, kept, by), by)
        return done, kept, by, ready[at]

    done = dict.fromkeys(names, jnp.zeros(of_target.shape, jnp.float32))
    kept = jnp.zeros((how.alive, chunk, vocab), jnp.float32)
    by = jnp.zeros_like(of_states), jnp.zeros((embed, vocab), jnp.float32)
    count = (used + chunk - 1) // chunk
    done, _, (by_states, by_head), _ = jax.lax.fori_loop(0, count, step, (done, kept, by, jnp.asarray(0)))
    flat = {name: x.reshape(-1)[:slots] for name, x in done.items()}
    return flat, (by_states.reshape(-1, embed)[:slots], by_head.T.astype(head.dtype))


def _backward(how: How, kept: tuple[Array, Array], _: Any) -> tuple[Array | None, ...]:
    return *kept, None, None, None, None


head_in_one_pass.defvjp(_forward, _backward)


def _ready_after(pair: Int[Array, "slots"], used: Array, chunk: int) -> Int[Array, "chunks"]:
    """Returns how many chunks, from the first on, have all of their pairs whole once a chunk is computed."""
    place = jnp.arange(pair.size)
    filled = place < used
    ends = filled & ((place + 1 >= used) | (pair != jnp.roll(pair, -1)))
    # The last slot of the pair that a slot belongs to, and of the last pair that a chunk has.
    end = jax.lax.cummin(jnp.where(ends, place, pair.size), reverse=True)
    last = _chunked(jnp.where(filled, end, -1), chunk, filler=-1).max(axis=1) // chunk
    order = jnp.arange(last.size)
    return jnp.sum((last[None, :] <= order[:, None]) & (last[None, :] >= 0), axis=1)


def _chunked(x: Float[Array, "slots ..."], chunk: int, filler: int = 0) -> Float[Array, "chunks chunk ..."]:
    padded = jnp.pad(x, ((0, -x.shape[0] % chunk), *((0, 0) for _ in x.shape[1:])), constant_values=filler)
    return padded.reshape(-1, chunk, *x.shape[1:])
