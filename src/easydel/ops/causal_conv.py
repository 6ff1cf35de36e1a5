"""Depthwise causal convolution over packed rows: each sequence reads its own past and nothing else.

The tokens before the first one of a rejected completion are the last ones of its prompt, which do not lie before it in
the row. So each token reads the places of its predecessors; in the backward pass a token of a prompt is read by two
completions, and its gradient is the sum of two reads, without a scatter.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


class Links(NamedTuple):
    """For each distance of 1, 2, ... tokens, who stands so far before a token in its own sequence, and so far behind.

    Places count along a row, and mean nothing where there is no such token.
    """

    before: Int[Array, "distances rows length"]
    has_before: Bool[Array, "distances rows length"]
    # The predecessor lies as far before it in the row as in the sequence.
    straight: Bool[Array, "distances rows length"]
    # The one behind a token of a prompt that lies in the rejected completion.
    forked: Int[Array, "distances rows length"]
    has_forked: Bool[Array, "distances rows length"]


def links(segment: Int[Array, "rows length"], branch: Int[Array, "rows length"], distances: int) -> Links:
    """Returns the links of rows whose segments each lie as [prompt chosen rejected]; padding has none."""
    place = jnp.broadcast_to(jnp.arange(segment.shape[1]), segment.shape)

    def last(marked: jax.Array, value: jax.Array) -> jax.Array:
        return jax.lax.cummax(jnp.where(marked, value, 0), axis=1)

    rejected = branch == 2
    starts = (place == 0) | (segment != jnp.roll(segment, 1, axis=1))
    start = last(starts, place)
    own = last(starts | (rejected != jnp.roll(rejected, 1, axis=1)), place)
    prompt_end = jnp.maximum(start, last(branch == 0, place + 1))
    # Of a token of a prompt: where the rejected completion of its segment begins.
    begins = rejected & (own == place)
    nothing = segment.shape[1]
    fork = jax.lax.cummin(jnp.where(begins, place, nothing), axis=1, reverse=True)
    end_here = jax.lax.cummin(jnp.where(branch != 0, place, nothing), axis=1, reverse=True)

    distance = jnp.arange(1, distances + 1)[:, None, None]
    straight = (place - own >= distance) & (segment > 0)
    around = prompt_end - distance + (place - own)
    before = jnp.where(straight, place - distance, jnp.maximum(around, 0))
    has_before = straight | (rejected & (segment > 0) & (around >= start))
    forked = fork + place - end_here + distance
    inside = jnp.minimum(forked, nothing - 1)
    its_segment, its_branch = (jnp.take_along_axis(x[None], inside, axis=2) for x in (segment, branch))
    has_forked = (branch == 0) & (segment > 0) & (forked >= fork) & (forked < nothing)
    has_forked &= (its_segment == segment) & (its_branch == 2)
    return Links(before, has_before, straight, inside, has_forked)


@jax.custom_vjp
def causal_conv(
    x: Float[Array, "rows length channels"], taps: Float[Array, "taps channels"], linked: Links
) -> Float[Array, "rows length channels"]:
    """Returns `sum_d taps[-1 - d] * (the token d before)` for each channel, summed in float32, in the dtype of `x`.

    Args:
        taps: in the order of a file: the last is that of the token itself.
        linked: `links` of at least as many distances as there are taps, but one.
    """
    total = x.astype(jnp.float32) * taps[-1].astype(jnp.float32)
    for distance in range(1, taps.shape[0]):
        total += _before(x, linked, distance) * taps[-1 - distance].astype(jnp.float32)
    return total.astype(x.dtype)


def _before(x: jax.Array, linked: Links, distance: int) -> Float[Array, "rows length channels"]:
    """Returns, float32, the token so far before each one; 0 where there is none."""
    read = jnp.take_along_axis(x, linked.before[distance - 1][..., None], axis=1)
    return jnp.where(linked.has_before[distance - 1][..., None], read.astype(jnp.float32), 0.0)


def _forward(x: jax.Array, taps: jax.Array, linked: Links) -> tuple[jax.Array, tuple]:
    return causal_conv(x, taps, linked), (x, taps, linked)


def _backward(kept: tuple, d_out: jax.Array) -> tuple[jax.Array, jax.Array, None]:
    x, taps, linked = kept
    wide = d_out.astype(jnp.float32)
    d_x = wide * taps[-1].astype(jnp.float32)
    d_taps = [jnp.sum(wide * x.astype(jnp.float32), axis=(0, 1))]
    for distance in range(1, taps.shape[0]):
        at = distance - 1
        straight = jnp.where(linked.straight[at][..., None], wide, 0.0)
        behind = jnp.pad(straight[:, distance:], ((0, 0), (0, min(distance, x.shape[1])), (0, 0)))
        forked = jnp.take_along_axis(wide, linked.forked[at][..., None], axis=1)
        behind += jnp.where(linked.has_forked[at][..., None], forked, 0.0)
        d_x += behind * taps[-1 - distance].astype(jnp.float32)
        d_taps.append(jnp.sum(wide * _before(x, linked, distance), axis=(0, 1)))
    return d_x.astype(x.dtype), jnp.stack(d_taps[::-1]).astype(taps.dtype), None


causal_conv.defvjp(_forward, _backward)


def next_conv(
    x: Float[Array, "rows 1 channels"], taps: Float[Array, "taps channels"], tail: Float[Array, "rows tail channels"]
) -> tuple[Float[Array, "rows 1 channels"], Float[Array, "rows tail channels"]]:
    """Returns (the convolution at one more token of each row, the tail with that token): the tail holds those before.

    As many as there are taps, but one; 0 where there are fewer.
    """
    window = jnp.concatenate([tail, x], axis=1)
    total = jnp.einsum("rtc,tc->rc", window.astype(jnp.float32), taps.astype(jnp.float32))
    return total[:, None].astype(x.dtype), window[:, 1:]


def tail_of(
    x: Float[Array, "rows length channels"], segment: Int[Array, "rows length"], size: int
) -> Float[Array, "rows tail channels"]:
    """Returns the last `size` tokens of rows that end in their last token; 0 where there are fewer."""
    real = jnp.where((segment > 0)[..., None], x, 0)
    padded = jnp.pad(real, ((0, 0), (size, 0), (0, 0)))
    return padded[:, padded.shape[1] - size :]
