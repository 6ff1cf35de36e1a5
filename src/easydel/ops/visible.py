"""Who sees whom in packed rows: the one rule that every mechanism of attention obeys."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int


class Tokens(NamedTuple):
    """What a mask is made of, for queries or for keys: [rows tokens] each. `place` counts along the row."""

    segment: Int[Array, "rows tokens"]
    branch: Int[Array, "rows tokens"]
    position: Int[Array, "rows tokens"]
    place: Int[Array, "rows tokens"]


def tokens_of(segment: jax.Array, branch: jax.Array, position: jax.Array) -> Tokens:
    """Returns the tokens of whole rows."""
    place = jnp.broadcast_to(jnp.arange(segment.shape[1]), segment.shape)
    return Tokens(segment, branch, position, place)


def sees(query: Tokens, key: Tokens, window: int | None) -> Bool[Array, "rows queries keys"]:
    """Returns which query sees which key, see `visible`."""
    same_segment = query.segment[:, :, None] == key.segment[:, None, :]
    same_branch = (key.branch[:, None, :] == 0) | (query.branch[:, :, None] == key.branch[:, None, :])
    seen = same_segment & same_branch & (query.place[:, :, None] >= key.place[:, None, :])
    return seen if window is None else seen & (query.position[:, :, None] - key.position[:, None, :] < window)


def visible(
    segment: Int[Array, "rows length"],
    branch: Int[Array, "rows length"],
    position: Int[Array, "rows length"],
    window: int | None = None,
) -> Bool[Array, "rows length length"]:
    """Returns which token (second axis) sees which (third axis) in packed rows.

    A token sees earlier-or-same places of its own segment that are prompt (branch 0) or of its own branch, and with a
    `window` only those where `query position - key position < window`. Padding (segment 0) sees padding only, so no
    query is left without a key.
    """
    tokens = tokens_of(segment, branch, position)
    return sees(tokens, tokens, window)
