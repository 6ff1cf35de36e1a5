"""Rotary position embedding: cosine and sine of the angles of each position, with the scalings of `transformers`.

Frequencies follow the order of operations of `transformers.modeling_rope_utils` in float32, because one unit
in the last place of a frequency is a visible angle at position 100,000.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from easydel.models.config import ModelConfig, Rope


def rotary(
    config: ModelConfig, position: Int[Array, "rows length"], segment: Int[Array, "rows length"]
) -> tuple[Float[Array, "rows length half"], Float[Array, "rows length half"]]:
    """Returns (cos, sin) of the angles of every token in float32; `half` is head_dim / 2.

    Only `dynamic` scaling looks at more than the position: past `max_position_embeddings` its frequencies
    depend on the length of the sequence. `transformers` takes the longest of the batch. Here each segment
    takes its own (with a pair: the longer branch), so that log-probabilities do not depend on which pairs share a batch
    or a row.
    """
    rope = config.rope
    if rope.rope_type == "dynamic":
        frequencies = _dynamic_frequencies(config, _segment_lengths(position, segment))
    else:
        frequencies = jnp.asarray(_FREQUENCIES[rope.rope_type](rope, config.head_dim))
    angles = position[..., None].astype(jnp.float32) * frequencies
    scale = _yarn_attention_factor(rope) if rope.rope_type == "yarn" else 1.0
    return jnp.cos(angles) * scale, jnp.sin(angles) * scale


def rotate(
    x: Float[Array, "rows length heads head_dim"],
    cos: Float[Array, "rows length half"],
    sin: Float[Array, "rows length half"],
) -> Float[Array, "rows length heads head_dim"]:
    """Returns `x` with channel i and channel i + head_dim / 2 turned by the i-th angle, computed in float32."""
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    cos, sin = cos[:, :, None], sin[:, :, None]
    turned = jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
    return turned.astype(x.dtype)


def _exponents(head_dim: int) -> np.ndarray:
    return np.arange(0, head_dim, 2, dtype=np.float32) / np.float32(head_dim)


def _default(rope: Rope, head_dim: int) -> np.ndarray:
    return np.float32(1.0) / np.float32(rope.rope_theta) ** _exponents(head_dim)


def _linear(rope: Rope, head_dim: int) -> np.ndarray:
    return _default(rope, head_dim) / np.float32(rope.factor)


def _yarn(rope: Rope, head_dim: int) -> np.ndarray:
    """YaRN (arXiv 2309.00071): fast channels keep their frequency, slow ones are interpolated, with a ramp."""

    def channel_of(rotations: float) -> float:
        turns = rope.original_max_position_embeddings / (rotations * 2 * math.pi)
        return head_dim * math.log(turns) / (2 * math.log(rope.rope_theta))

    low, high = channel_of(rope.beta_fast), channel_of(rope.beta_slow)
    if rope.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, head_dim - 1)
    if low == high:
        high += 0.001  # as transformers does: no division by zero
    ramp = np.clip((np.arange(head_dim // 2, dtype=np.float32) - low) / np.float32(high - low), 0, 1)
    keep = 1 - ramp.astype(np.float32)
    wavelengths = np.float32(rope.rope_theta) ** _exponents(head_dim)
    interpolated = np.float32(1.0) / (np.float32(rope.factor) * wavelengths)
    return interpolated * (1 - keep) + np.float32(1.0) / wavelengths * keep


def _yarn_attention_factor(rope: Rope) -> float:
    def magnitude(weight: float) -> float:
        return 1.0 if rope.factor <= 1 else 0.1 * weight * math.log(rope.factor) + 1.0

    if rope.attention_factor is not None:
        return rope.attention_factor
    if rope.mscale and rope.mscale_all_dim:
        return magnitude(rope.mscale) / magnitude(rope.mscale_all_dim)
    return magnitude(1.0)


def _llama3(rope: Rope, head_dim: int) -> np.ndarray:
    """Llama 3.1: long wavelengths are stretched by `factor`, short ones kept, those in between blended."""
    frequencies = _default(rope, head_dim)
    factor = np.float32(rope.factor)
    longest = rope.original_max_position_embeddings
    wavelengths = np.float32(2 * math.pi) / frequencies
    blend = (longest / wavelengths - np.float32(rope.low_freq_factor)) / np.float32(
        rope.high_freq_factor - rope.low_freq_factor
    )
    blended = (1 - blend) * frequencies / factor + blend * frequencies
    is_long, is_short = (
        wavelengths > longest / rope.low_freq_factor,
        wavelengths < longest / rope.high_freq_factor,
    )
    return np.where(is_long, frequencies / factor, np.where(is_short, frequencies, blended)).astype(np.float32)


_FREQUENCIES = {"default": _default, "linear": _linear, "yarn": _yarn, "llama3": _llama3}


def _segment_lengths(position: jax.Array, segment: jax.Array) -> jax.Array:
    """Returns for every token the length of its segment, [rows length]: the highest position plus one."""
    longest = jax.vmap(lambda p, s: jax.ops.segment_max(p, s, num_segments=p.shape[0] + 1))(position, segment)
    return jnp.take_along_axis(longest, segment, axis=1) + 1


def _dynamic_frequencies(config: ModelConfig, length: jax.Array) -> jax.Array:
    """NTK-aware scaling: theta grows with the part of the sequence that is past `max_position_embeddings`."""
    rope, dim, limit = config.rope, config.head_dim, config.max_position_embeddings
    stretch = rope.factor * jnp.maximum(length, limit).astype(jnp.float32) / limit - (rope.factor - 1)
    theta = rope.rope_theta * stretch ** (dim / (dim - 2))
    return 1.0 / theta[..., None] ** _exponents(dim)
