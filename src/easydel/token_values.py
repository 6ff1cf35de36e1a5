"""What the logits of a token say: its log-probability, and what the log shows; for both forms of the head."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def token_values(
    logits: Float[Array, "*slots vocab"],
    target: Int[Array, "*slots"],
    states: Float[Array, "*slots embed"],
    mean_weights: Float[Array, "embed"],
    *,
    logit_metrics: bool,
    capped: bool = False,
) -> dict[str, Float[Array, "*slots"]]:
    """Returns values of `logprobs.TokenStatistics` by name, and `log_partition`, the logarithm of the softmax's sum.

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
