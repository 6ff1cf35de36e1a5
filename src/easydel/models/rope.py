"""Rotary position embedding (RoFormer, Su et al. 2021, arXiv 2104.09864, section 3.2.2), with scalings.

Pair i of the `dim` channels that are turned gets the angle `position * theta^(-2 i / dim)` (eq. 15); the two halves of
a head are paired, as in most of `transformers`, and in some families neighbors. Scalings of the frequencies, for
sequences that are longer than those of pretraining: `linear` (position interpolation, Chen et al. 2023, arXiv
2306.15595), `dynamic` (dynamic NTK, described in the YaRN paper), `yarn` (Peng et al. 2023, arXiv 2309.00071), `llama3`
(that of the Llama 3.1 models), `longrope` (Ding et al. 2024, arXiv 2402.13753).

Frequencies follow the order of operations of `transformers.modeling_rope_utils` in float32, because one unit
in the last place of a frequency is a visible angle at position 100,000.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from easydel.models.kinds import Rope

# Cosine and sine, each [rows length half], and what queries are multiplied by [rows length], see `temperature`.
Angles = tuple[jax.Array, jax.Array, jax.Array | None]


def rotary(
    rope: Rope, position: Int[Array, "rows length"], segment: Int[Array, "rows length"]
) -> tuple[Float[Array, "rows length half"], Float[Array, "rows length half"]]:
    """Returns (cos, sin) of the angles of every token in float32; `half` is rope.dim / 2.

    Only `dynamic` and `longrope` look at more than the position: past `original_max_position_embeddings` their
    frequencies depend on the length of the sequence. `transformers` takes the longest of the batch. Here each segment
    takes its own (with a pair: that of the longer completion), so that log-probabilities do not depend on which pairs
    share a batch or a row.
    """
    if rope.rope_type == "dynamic":
        frequencies = _dynamic_frequencies(rope, _segment_lengths(position, segment))
    elif rope.rope_type == "longrope":
        frequencies = _longrope_frequencies(rope, _segment_lengths(position, segment))
    else:
        frequencies = jnp.asarray(_FREQUENCIES[rope.rope_type](rope))
    angles = position[..., None].astype(jnp.float32) * frequencies
    scale = _ATTENTION_FACTORS.get(rope.rope_type, lambda _: 1.0)(rope)
    return jnp.cos(angles) * scale, jnp.sin(angles) * scale


def temperature(rope: Rope, position: Int[Array, "rows length"]) -> Float[Array, "rows length"] | None:
    """Returns what the queries of every token are multiplied by, float32; None where that is 1 everywhere.

    It grows with the position, as in Llama 4 (`attn_temperature_tuning`) and Ministral 3.
    """
    if rope.temperature == 0:
        return None
    turns = jnp.floor(position.astype(jnp.float32) / rope.original_max_position_embeddings)
    return 1 + rope.temperature * jnp.log(1 + turns)


def rotate(
    x: Float[Array, "... heads head_dim"],
    cos: Float[Array, "... half"],
    sin: Float[Array, "... half"],
    *,
    neighbors: bool = False,
) -> Float[Array, "... heads head_dim"]:
    """Returns `x` with channel i and channel i + half turned by the i-th angle, computed in float32.

    Channels past the first 2 half stay as they are.

    Args:
        neighbors: turn channels 2 i and 2 i + 1 instead.
    """
    half = cos.shape[-1]
    wide = x.astype(jnp.float32)
    rest = wide[..., 2 * half :]
    cos, sin = cos[..., None, :], sin[..., None, :]
    if neighbors:
        pairs = wide[..., : 2 * half].reshape(*x.shape[:-1], half, 2)
        first, second = pairs[..., 0], pairs[..., 1]
        both = jnp.stack([first * cos - second * sin, second * cos + first * sin], axis=-1)
        turned = [both.reshape(*x.shape[:-1], 2 * half)]
    else:
        first, second = wide[..., :half], wide[..., half : 2 * half]
        turned = [first * cos - second * sin, second * cos + first * sin]
    return jnp.concatenate([*turned, rest], axis=-1).astype(x.dtype)


def _exponents(dim: int) -> np.ndarray:
    return np.arange(0, dim, 2, dtype=np.float32) / np.float32(dim)


def _default(rope: Rope) -> np.ndarray:
    return np.float32(1.0) / np.float32(rope.rope_theta) ** _exponents(rope.dim)


def _linear(rope: Rope) -> np.ndarray:
    """Position interpolation: positions over `factor`."""
    return _default(rope) / np.float32(rope.factor)


def _yarn(rope: Rope) -> np.ndarray:
    """YaRN (NTK-by-parts): fast channels keep their frequency, slow ones are interpolated, with a ramp."""

    def channel_of(rotations: float) -> float:
        turns = rope.original_max_position_embeddings / (rotations * 2 * math.pi)
        return rope.dim * math.log(turns) / (2 * math.log(rope.rope_theta))

    low, high = channel_of(rope.beta_fast), channel_of(rope.beta_slow)
    if rope.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, rope.dim - 1)
    if low == high:
        high += 0.001  # as transformers does: no division by zero
    ramp = np.clip((np.arange(rope.dim // 2, dtype=np.float32) - low) / np.float32(high - low), 0, 1)
    keep = 1 - ramp.astype(np.float32)
    wavelengths = np.float32(rope.rope_theta) ** _exponents(rope.dim)
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


def _llama3(rope: Rope) -> np.ndarray:
    """Llama 3.1: long wavelengths are stretched by `factor`, short ones kept, those in between blended."""
    frequencies = _default(rope)
    factor = np.float32(rope.factor)
    original = rope.original_max_position_embeddings
    wavelengths = np.float32(2 * math.pi) / frequencies
    blend = (original / wavelengths - np.float32(rope.low_freq_factor)) / np.float32(
        rope.high_freq_factor - rope.low_freq_factor
    )
    blended = (1 - blend) * frequencies / factor + blend * frequencies
    is_long = wavelengths > original / rope.low_freq_factor
    is_short = wavelengths < original / rope.high_freq_factor
    return np.where(is_long, frequencies / factor, np.where(is_short, frequencies, blended)).astype(np.float32)


def _longrope_attention_factor(rope: Rope) -> float:
    if rope.attention_factor is not None:
        return rope.attention_factor
    original = rope.original_max_position_embeddings
    return 1.0 if rope.factor <= 1 else math.sqrt(1 + math.log(rope.factor) / math.log(original))


_FREQUENCIES = {"default": _default, "linear": _linear, "yarn": _yarn, "llama3": _llama3}
_ATTENTION_FACTORS = {"yarn": _yarn_attention_factor, "longrope": _longrope_attention_factor}


def _segment_lengths(position: jax.Array, segment: jax.Array) -> jax.Array:
    """Returns for every token the length of its segment, [rows length]: the highest position plus one."""
    last = jax.vmap(lambda p, s: jax.ops.segment_max(p, s, num_segments=p.shape[0] + 1))(position, segment)
    return jnp.take_along_axis(last, segment, axis=1) + 1


def _dynamic_frequencies(rope: Rope, length: jax.Array) -> jax.Array:
    """Dynamic NTK: theta grows with the part of the sequence past `original_max_position_embeddings`."""
    limit = rope.original_max_position_embeddings
    stretch = rope.factor * jnp.maximum(length, limit).astype(jnp.float32) / limit - (rope.factor - 1)
    theta = rope.rope_theta * stretch ** (rope.dim / (rope.dim - 2))
    return 1.0 / theta[..., None] ** _exponents(rope.dim)


def _longrope_frequencies(rope: Rope, length: jax.Array) -> jax.Array:
    """LongRoPE: each pair of channels has a factor for short sequences and one for long ones."""
    short, long = (
        np.float32(1.0) / (np.asarray(factors, np.float32) * np.float32(rope.rope_theta) ** _exponents(rope.dim))
        for factors in (rope.short_factor, rope.long_factor)
    )
    return jnp.where((length > rope.original_max_position_embeddings)[..., None], long, short)
