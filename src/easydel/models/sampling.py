"""Choosing the next token from its logits."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from easydel.errors import ConfigError


class Sampling(NamedTuple):
    """How to choose new tokens, and when to stop.

    Attributes:
        temperature: 0 takes the most likely token.
        top_k: 0 takes all tokens.
        pad: what follows the end of a row.
    """

    max_new_tokens: int
    temperature: float
    top_p: float
    top_k: int
    repetition_penalty: float
    seed: int
    pad: int


def check_sampling(sampling: Sampling, mask: Int[np.ndarray, "batch length"]) -> None:
    """Raises ConfigError for settings out of range, or for a row whose mask has no token."""
    if sampling.max_new_tokens < 1:
        raise ConfigError(f"max_new_tokens ({sampling.max_new_tokens}) must be at least 1.")
    if sampling.temperature < 0:
        raise ConfigError(f"temperature ({sampling.temperature}) must be at least 0.")
    if not 0 < sampling.top_p <= 1:
        raise ConfigError(f"top_p ({sampling.top_p}) must be in (0, 1].")
    if sampling.top_k < 0:
        raise ConfigError(f"top_k ({sampling.top_k}) must be at least 0; 0 takes all tokens.")
    if sampling.repetition_penalty <= 0:
        raise ConfigError(f"repetition_penalty ({sampling.repetition_penalty}) must be above 0; 1 turns it off.")
    empty = np.flatnonzero(mask.sum(axis=1) == 0)
    if mask.shape[0] == 0 or len(empty):
        raise ConfigError(f"Nothing to continue: rows {empty[:5].tolist()} of input_ids have no real token.")


def penalized(
    logits: Float[Array, "batch vocab"], used: Bool[Array, "batch vocab"], penalty: jax.Array | float
) -> Float[Array, "batch vocab"]:
    """Returns the logits, of tokens that the row has already divided by the penalty, or times it where below 0.

    Source: CTRL (Keskar et al. 2019, arXiv 1909.05858, section 4.1), as in `transformers`.
    """
    return jnp.where(used, jnp.where(logits > 0, logits / penalty, logits * penalty), logits)


def sample(logits: Float[Array, "batch vocab"], key: Key[Array, ""], sampling: Sampling) -> Int[Array, "batch"]:
    """Returns one sample per row, after temperature, then top_k, then top_p as in `transformers`.

    Source of top_p: nucleus sampling (Holtzman et al. 2020, arXiv 1904.09751).
    """
    vocab = logits.shape[-1]
    logits = logits / sampling.temperature
    ordered = jnp.sort(logits, axis=-1, descending=True)
    kept = jnp.where(sampling.top_k > 0, jnp.minimum(sampling.top_k, vocab), vocab)
    ordered = jnp.where(jnp.arange(vocab) < kept, ordered, -jnp.inf)
    chances = jax.nn.softmax(ordered, axis=-1)
    # A token stays while those before it sum to less than top_p, so the most likely one always does.
    inside = jnp.cumsum(chances, axis=-1) - chances < sampling.top_p
    lowest = jnp.min(jnp.where(inside & (chances > 0), ordered, jnp.inf), axis=-1, keepdims=True)
    return jax.random.categorical(key, jnp.where(logits >= lowest, logits, -jnp.inf), axis=-1)
