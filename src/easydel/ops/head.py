"""The head of a language model with the log-probabilities of given tokens, one chunk of logits at a time.

A chunk is computed again for its gradient, so that no more than one of them exists, forward and backward. Where the
loss looks at one pair at a time, `easydel.ops.fused_head` computes it once. What is frozen, as the head beside adapters
is, gets no gradient: none of its products is computed.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Float, Int, Num

from easydel.ops.softcap import soft_cap, times_slope


class TokenStatistics(NamedTuple):
    """One value per completion slot; everything but `logp` carries no gradient, and is 0 where it was not asked for."""

    logp: Float[Array, "shards slots"]
    entropy: Float[Array, "shards slots"]  # nats
    mean_logit: Float[Array, "shards slots"]  # over the vocabulary
    correct: Float[Array, "shards slots"]  # 1 where the target is the most likely token
    collision: Float[Array, "shards slots"]  # log sum_v p_v^2


def token_values(
    logits: Float[Array, "*slots vocab"],
    target: Int[Array, "*slots"],
    states: Float[Array, "*slots embed"],
    mean_weights: Float[Array, "embed"],
    *,
    logit_metrics: bool,
    capped: bool = False,
) -> dict[str, Float[Array, "*slots"]]:
    """Returns values of `TokenStatistics` by name, and `log_partition`, the logarithm of the softmax's sum.

    Args:
        states: what met the head to give the logits.
        mean_weights: of the head, over the vocabulary: the mean logit is their product with a state, unless `capped`.
    """
    highest = jnp.max(logits, axis=-1)
    log_partition = jnp.log(jnp.sum(jnp.exp(logits - highest[..., None]), axis=-1)) + highest
    target_logit = jnp.take_along_axis(logits, target[..., None], axis=-1)[..., 0]
    values = {"logp": target_logit - log_partition, "log_partition": log_partition}
    if logit_metrics:
        log_probabilities = logits - log_partition[..., None]
        values["entropy"] = -jnp.sum(jnp.exp(log_probabilities) * log_probabilities, axis=-1)
        by_mean = jnp.einsum("...e,e->...", states.astype(jnp.float32), mean_weights)
        values["mean_logit"] = jnp.mean(logits, axis=-1) if capped else by_mean
        # An argmax takes ten times as long on CPU.
        values["correct"] = (target_logit == highest).astype(jnp.float32)
    return values


class _HeadConfig(NamedTuple):
    """How the head is computed: static, part of what is compiled."""

    chunk: int
    logit_metrics: bool
    collision: bool
    precision: str | None
    cap: float | None
    on_cpu: bool


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
    platform: str = "cpu",
) -> TokenStatistics:
    """Returns the log-probability of each target token, computed `chunk` slots at a time.

    The matmuls take operands in the dtype of `states` and accumulate in float32; softmax and sums are float32.
    Only the first `used` slots of each shard are looked at (None: all); beyond the last chunk that has any, the values
    are 0. With `cap` the logits are c * tanh(states head^T / c). The gradient of the head is summed up as is fast on
    the `platform`, as jax calls it.
    """
    slots = states.shape[1]
    config = _HeadConfig(min(chunk, slots), logit_metrics, collision, precision, cap, platform == "cpu")
    return _head_statistics(config, states, head, target, jnp.asarray(slots if used is None else used))


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _head_statistics(config: _HeadConfig, states: Array, head: Array, target: Array, used: Array) -> TokenStatistics:
    return _statistics(config, states, head, target, used)[0]


def _statistics(
    config: _HeadConfig, states: Array, head: Array, target: Array, used: Array
) -> tuple[TokenStatistics, Float[Array, "chunks shards chunk"]]:
    """Returns the statistics, and the logarithm of the sum of each softmax."""
    weights = head.astype(states.dtype)
    mean_weights = jnp.mean(head.astype(jnp.float32), axis=0)
    of_states, of_target = _chunked(config, states), _chunked(config, target)

    def one_chunk(at: Array, done: dict[str, Array]) -> dict[str, Array]:
        states, target = of_states[at], of_target[at]
        logits = _logits(config, states, weights)
        values = token_values(
            logits, target, states, mean_weights, logit_metrics=config.logit_metrics, capped=config.cap is not None
        )
        if config.collision:
            values["collision"] = jnp.log(
                jnp.sum(jnp.exp(2.0 * (logits - values["log_partition"][..., None])), axis=-1)
            )
        return {name: each.at[at].set(values[name]) if name in values else each for name, each in done.items()}

    nothing = jnp.zeros(of_target.shape, jnp.float32)
    done = dict.fromkeys((*TokenStatistics._fields, "log_partition"), nothing)
    done = jax.lax.fori_loop(0, _chunks(config, used), one_chunk, done)
    log_partition = done.pop("log_partition")
    return TokenStatistics(**{name: _joined(x, target.shape[1]) for name, x in done.items()}), log_partition


class Asked(NamedTuple):
    """Which of the two factors of the logits a gradient is asked for: the value there, None where it is not."""

    states: Any
    head: Any


def asked_for(states: Any, head: Any) -> Asked:
    """Returns what is asked for, of two arguments of a `jax.custom_vjp` that were given with `symbolic_zeros`."""
    return Asked(*(each.value if each.perturbed else None for each in (states, head)))


def _head_forward(
    config: _HeadConfig, states: Any, head: Any, target: Any, used: Any
) -> tuple[TokenStatistics, tuple[Any, ...]]:
    """Takes leaves that say whether their gradient is asked for."""
    values = tuple(leaf.value for leaf in (states, head, target, used))
    statistics, log_partition = _statistics(config, *values)
    return statistics, (asked_for(states, head), *values, log_partition)


def _head_backward(config: _HeadConfig, kept: tuple[Any, ...], cotangent: TokenStatistics) -> tuple[Any, ...]:
    """Returns the gradient by states and head: `d logits = g (onehot(target) - softmax(logits))`, times a cap's slope.

    Each shard adds up its own part of the head's gradient, so that devices talk once and not once a chunk. The sum has
    the layout of the head, and begins with the first chunk instead of with zeros: it may take gigabytes, and is neither
    filled nor turned. On CPU it is [embed vocab], as products that have to turn their larger factor are slow there.
    """
    asked, states, head, target, used, log_partition = kept
    if isinstance(cotangent.logp, SymbolicZero):
        return None, None, None, None
    weights = head.astype(states.dtype)
    of_states, of_target, d_logps = (_chunked(config, x) for x in (states, target, cotangent.logp))

    def one_chunk(at: Array, done: Asked) -> Asked:
        d_states, d_head = done
        logits = _logits(config, of_states[at], weights)
        onehot = jnp.arange(weights.shape[0]) == of_target[at][..., None]
        d_logits = d_logps[at][..., None] * (
            onehot.astype(jnp.float32) - jnp.exp(logits - log_partition[at][..., None])
        )
        d_logits = times_slope(d_logits, logits, config.cap).astype(states.dtype)
        if d_states is not None:
            d_state = jnp.einsum("scv,ve->sce", d_logits, weights, precision=config.precision)
            d_states = d_states.at[at].set(d_state)
        if d_head is not None:
            d_head += jnp.einsum(
                "scv,sce->sev" if config.on_cpu else "scv,sce->sve",
                *(d_logits, of_states[at]),
                precision=config.precision,
                preferred_element_type=jnp.float32,
            )
        return Asked(d_states, d_head)

    shape = head.shape[::-1] if config.on_cpu else head.shape
    sums = Asked(
        None if asked.states is None else jnp.zeros_like(of_states),
        None if asked.head is None else jnp.zeros((states.shape[0], *shape), jnp.float32),
    )
    first = 0 if config.on_cpu else 1
    for number in range(first):
        sums = one_chunk(jnp.asarray(number), sums)  # what is added to zeros is not added
    d_states, d_head = jax.lax.fori_loop(first, _chunks(config, used), one_chunk, sums)
    d_states = None if d_states is None else _joined(d_states, states.shape[1])
    if d_head is not None:
        d_head = jnp.sum(d_head, axis=0).astype(head.dtype)
    return d_states, d_head.T if config.on_cpu and d_head is not None else d_head, None, None


_head_statistics.defvjp(_head_forward, _head_backward, symbolic_zeros=True)


def _chunks(config: _HeadConfig, used: Array) -> Array:
    return (used + config.chunk - 1) // config.chunk


def _logits(config: _HeadConfig, states: Array, weights: Array) -> Float[Array, "shards chunk vocab"]:
    products = jnp.einsum(
        "sce,ve->scv", states, weights, precision=config.precision, preferred_element_type=jnp.float32
    )
    return soft_cap(products, config.cap)


def _chunked(config: _HeadConfig, x: Num[Array, "shards slots ..."]) -> Num[Array, "chunks shards chunk ..."]:
    """Returns the slots in chunks, zeros at the end."""
    padding = -x.shape[1] % config.chunk
    padded = jnp.pad(x, ((0, 0), (0, padding), *((0, 0) for _ in x.shape[2:])))
    return padded.reshape(x.shape[0], -1, config.chunk, *x.shape[2:]).swapaxes(0, 1)


def _joined(x: Float[Array, "chunks shards chunk ..."], slots: int) -> Float[Array, "shards slots ..."]:
    joined = x.swapaxes(0, 1)
    return joined.reshape(joined.shape[0], -1, *joined.shape[3:])[:, :slots]
