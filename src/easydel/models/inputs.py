"""Checks of what a model is called with, before anything is compiled."""

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Int

from easydel.errors import ConfigError


def checked_rows(
    input_ids: ArrayLike, attention_mask: ArrayLike | None, vocabulary: int
) -> tuple[Int[np.ndarray, "batch length"], Int[np.ndarray, "batch length"]]:
    """Returns (token ids, 1 where they are real) of what a model is called with; without a mask all are real.

    Raises:
        ConfigError: not rows of integers, ids outside a vocabulary of that size, or a mask of another shape.
    """
    tokens = np.asarray(input_ids)
    if tokens.ndim != 2 or not np.issubdtype(tokens.dtype, np.integer):
        raise ConfigError(f"input_ids must be integers [batch, length]; got {tokens.dtype} {list(tokens.shape)}.")
    if tokens.size and not 0 <= tokens.min() <= tokens.max() < vocabulary:
        raise ConfigError(
            f"input_ids hold {tokens.min()} to {tokens.max()}; the vocabulary has 0 to "
            f"{vocabulary - 1}. Does the tokenizer belong to this model?"
        )
    mask = np.ones_like(tokens) if attention_mask is None else np.asarray(attention_mask)
    if mask.shape != tokens.shape:
        raise ConfigError(f"attention_mask has shape {list(mask.shape)}, input_ids {list(tokens.shape)}.")
    return tokens.astype(np.int32), (mask != 0).astype(np.int32)
