"""The parts of one decoder layer, as functions of its weights. Linear layers keep heads as an axis of their own."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from easydel.models.lora import adapted
from easydel.models.quantize import product

ACTIVATION_FUNCTIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "silu": jax.nn.silu,
    "gelu": lambda x: jax.nn.gelu(x, approximate=False),
    "gelu_new": lambda x: jax.nn.gelu(x, approximate=True),
    "gelu_pytorch_tanh": lambda x: jax.nn.gelu(x, approximate=True),
    "relu": jax.nn.relu,
}


def rms_norm(x: Float[Array, "... embed"], weight: jax.Array, epsilon: float) -> Float[Array, "... embed"]:
    """Returns x / sqrt(mean(x^2) + epsilon) * weight in the dtype of `x`, computed in float32.

    RMSNorm, Zhang & Sennrich 2019, arXiv 1910.07467, eq. 4.

    The mean is over as many of the last axes as `weight` has: two for a norm over the channels of all heads.
    """
    wide = x.astype(jnp.float32)
    axes = tuple(range(-weight.ndim, 0))
    normed = wide * jax.lax.rsqrt(jnp.mean(wide * wide, axis=axes, keepdims=True) + epsilon)
    return (normed * weight.astype(jnp.float32)).astype(x.dtype)


def layer_norm(x: Float[Array, "... embed"], weight: jax.Array, epsilon: float) -> Float[Array, "... embed"]:
    """Returns (x - mean) / sqrt(variance + epsilon) * weight in the dtype of `x`, computed in float32.

    Layer normalization, Ba et al. 2016, arXiv 1607.06450, eq. 4, without a bias.
    """
    wide = x.astype(jnp.float32)
    return rms_norm(wide - jnp.mean(wide, axis=-1, keepdims=True), weight, epsilon).astype(x.dtype)


NORMS: dict[str, Callable[[jax.Array, jax.Array, float], jax.Array]] = {"rms": rms_norm, "layer": layer_norm}


def linear(pattern: str, x: jax.Array, weights: Mapping[str, Any]) -> jax.Array:
    """Returns einsum(pattern, x, kernel), with adapters and a bias where there are some, in the dtype of `x`."""
    out = product(pattern, x, weights["kernel"])
    if "lora_a" in weights:
        out = adapted(pattern, x, out, weights)
    return out + weights["bias"].astype(x.dtype) if "bias" in weights else out


@partial(jax.checkpoint, static_argnums=2)
def activated(gate: jax.Array, up: jax.Array, activation: str) -> jax.Array:
    """Returns activation(gate) * up, computed in float32.

    Only gate and up are kept for the backward pass, which computes the rest again: a tenth of a step's memory.
    """
    wide = ACTIVATION_FUNCTIONS[activation](gate.astype(jnp.float32)) * up.astype(jnp.float32)
    return wide.astype(gate.dtype)


def gated_mlp(x: Float[Array, "... embed"], layer: Mapping[str, Any], *, activation: str) -> Float[Array, "... embed"]:
    """Returns down(activation(gate(x)) * up(x)): with SiLU it is SwiGLU (Shazeer 2020, arXiv 2002.05202, eq. 6)."""
    gate, up = linear("...e,em->...m", x, layer["gate"]), linear("...e,em->...m", x, layer["up"])
    return linear("...m,me->...e", activated(gate, up, activation), layer["down"])
