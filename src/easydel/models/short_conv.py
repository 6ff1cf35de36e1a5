"""The mixer of LFM2: a depthwise causal convolution between two gates.

out(C * conv(B * x)),   B, C and x being projections of the input        (LFM2, arXiv 2511.23404, section 2)
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from easydel.models.config import ModelConfig
from easydel.models.layers import linear
from easydel.models.packed_layout import PackedLayout, on_each_device
from easydel.ops.causal_conv import causal_conv, next_conv, tail_of

BEFORE = ("bcx", "in_gate", "out_gate", "input")
MIXING = ("taps", "taps_bias")

_CHANNELS = ("rows", "length", "channels")
Gated = tuple[Float[Array, "... channels"], Float[Array, "... channels"]]
Tail = Float[Array, "rows tail channels"]


def before(config: ModelConfig, weights: Mapping[str, Any], x: Float[Array, "... embed"]) -> Gated:
    """Returns (B * x, C) of each token."""
    gate, out_gate, value = (linear("...e,ec->...c", x, weights[name]) for name in ("in_gate", "out_gate", "input"))
    return gate * value, out_gate


def mix(config: ModelConfig, weights: Mapping[str, Any], gated: Gated, layout: PackedLayout) -> tuple[Gated, Any]:
    """Returns ((the convolution of B * x, C), the last of B * x in each row where asked for)."""
    x, out_gate = gated
    axes = (_CHANNELS, ("taps", "channels"), ("distances", "rows", "length"))
    convolved = on_each_device(causal_conv, layout.mesh, axes, _CHANNELS)(x, weights["taps"], layout.linked)
    tail = tail_of(x, layout.segment, weights["taps"].shape[0] - 1) if layout.with_state else None
    return (_biased(convolved, weights), out_gate), tail


def step(config: ModelConfig, weights: Mapping[str, Any], gated: Gated, tail: Tail) -> tuple[Gated, Tail]:
    """Returns ((the convolution at one more token of each row, C), the tail with that token)."""
    convolved, tail = next_conv(gated[0], weights["taps"], tail)
    return (_biased(convolved, weights), gated[1]), tail


def behind(config: ModelConfig, weights: Mapping[str, Any], mixed: Gated) -> Float[Array, "... embed"]:
    """Returns what the layer adds to the residual stream."""
    return linear("...c,ce->...e", mixed[0] * mixed[1], weights["output"])


def _biased(x: jax.Array, weights: Mapping[str, Any]) -> jax.Array:
    return x + jnp.asarray(weights["taps_bias"], x.dtype) if "taps_bias" in weights else x
