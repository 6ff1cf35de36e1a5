"""The mixer of Qwen 3.5, Qwen3-Next and OLMo Hybrid: the gated delta rule (Gated DeltaNet, arXiv 2412.06464).

Query, key and value pass a short convolution and an activation; query and key are made unit vectors. Of each head

    g = -exp(A_log) softplus(a + dt_bias),   b = sigmoid(b) * rate_scale

are the decay of its state and its rate, see `easydel.ops.recurrence`. What is read passes a norm and a gate.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from easydel.models.config import ModelConfig
from easydel.models.kinds import DeltaNet
from easydel.models.layers import ACTIVATION_FUNCTIONS, linear, rms_norm
from easydel.models.packed_layout import PackedLayout, on_each_device
from easydel.ops.causal_conv import Links, causal_conv, next_conv, tail_of
from easydel.ops.recurrence import Chunks, next_state, recurrence

BEFORE = ("qkv", "query", "key", "value", "gate", "rate", "decay", "qkvz", "ba")
_TAPS = ("query_taps", "key_taps", "value_taps")
_KEYS, _VALUES = ("rows", "length", "key_heads", "key_dim"), ("rows", "length", "value_heads", "value_dim")
_HEADS = ("rows", "length", "value_heads")
_STATE = ("rows", "value_heads", "key_dim", "value_dim")
_WEIGHTS = {
    **{"query_taps": ("taps", "key_heads", "key_dim"), "key_taps": ("taps", "key_heads", "key_dim")},
    **{"value_taps": ("taps", "value_heads", "value_dim")},
    **{"log_decay": ("value_heads",), "decay_bias": ("value_heads",)},
}
MIXING = tuple(_WEIGHTS)
_EPSILON = 1e-6  # of the unit vectors


class Projected(NamedTuple):
    """What is mixed, of each token."""

    query: Float[Array, "... key_heads key_dim"]
    key: Float[Array, "... key_heads key_dim"]
    value: Float[Array, "... value_heads value_dim"]
    rate: Float[Array, "... value_heads"]
    decay: Float[Array, "... value_heads"]


Mixed = tuple[Float[Array, "... value_heads value_dim"], Float[Array, "... value_heads value_dim"]]
# The last inputs of the three convolutions, and the state of each head.
State = tuple[tuple[jax.Array, ...], Float[Array, "rows value_heads key_dim value_dim"]]


def sizes_of(config: ModelConfig) -> DeltaNet:
    """Returns the sizes of the layers of this mixer.

    Raises:
        ValueError: the model has none.
    """
    if config.delta is None:
        raise ValueError("the model has no layer of this mixer.")
    return config.delta


def before(
    config: ModelConfig, weights: Mapping[str, Any], x: Float[Array, "... embed"]
) -> tuple[Projected, Float[Array, "... value_heads value_dim"]]:
    """Returns what is mixed, and the gate of what is read, of each token."""
    if "qkvz" in weights:
        return _by_key_head(sizes_of(config), weights, x)
    query, key, value, gate = (
        linear("...e,ehd->...hd", x, weights[name]) for name in ("query", "key", "value", "gate")
    )
    rate, decay = (linear("...e,eh->...h", x, weights[name]) for name in ("rate", "decay"))
    return Projected(query, key, value, rate, decay), gate


def _by_key_head(sizes: DeltaNet, weights: Mapping[str, Any], x: jax.Array) -> tuple[Projected, jax.Array]:
    """Returns the same of matrices that hold, for each head of keys, all that goes with it."""
    group = sizes.value_heads // sizes.key_heads
    wide = linear("...e,ehw->...hw", x, weights["qkvz"])
    cuts = (sizes.key_dim, 2 * sizes.key_dim, 2 * sizes.key_dim + group * sizes.value_dim)
    query, key, value, gate = jnp.split(wide, cuts, axis=-1)
    value, gate = (each.reshape(*x.shape[:-1], sizes.value_heads, sizes.value_dim) for each in (value, gate))
    both = linear("...e,ehw->...hw", x, weights["ba"])
    rate, decay = (each.reshape(*x.shape[:-1], sizes.value_heads) for each in jnp.split(both, 2, axis=-1))
    return Projected(query, key, value, rate, decay), gate


def mix(
    config: ModelConfig, weights: Mapping[str, Any], inputs: tuple[Projected, jax.Array], layout: PackedLayout
) -> tuple[Mixed, State | None]:
    """Returns ((what each token reads, the gate), what generation goes on with, where asked for)."""
    tokens, gate = inputs
    on_cpu = layout.mesh.devices.flat[0].platform == "cpu"

    def mixed(weights: Mapping[str, Any], tokens: Projected, linked: Links, chunks: Chunks) -> Any:
        convolved = (
            causal_conv(_flat(x), _flat(weights[name]), linked).reshape(x.shape)
            for name, x in zip(_TAPS, tokens, strict=False)
        )
        query, key, value = convolved
        given = _given(config, weights, tokens._replace(query=query, key=key, value=value))
        out, state = recurrence(*given, chunks, on_cpu=on_cpu, with_state=layout.with_state)
        return out.astype(gate.dtype), state

    axes = (
        _WEIGHTS,
        tokens._replace(query=_KEYS, key=_KEYS, value=_VALUES, rate=_HEADS, decay=_HEADS),
        ("distances", "rows", "length"),
        ("chunks", "rows"),
    )
    spread = on_each_device(mixed, layout.mesh, axes, (_VALUES, _STATE if layout.with_state else None))
    out, state = spread({name: weights[name] for name in _WEIGHTS}, tokens, layout.linked, layout.chunks)
    if state is None:
        return (out, gate), None
    tails = tuple(tail_of(_flat(x), layout.segment, sizes_of(config).taps - 1) for x in tokens[:3])
    return (out, gate), (tails, state)


def step(
    config: ModelConfig, weights: Mapping[str, Any], inputs: tuple[Projected, jax.Array], state: State
) -> tuple[Mixed, State]:
    """Returns ((what one more token of each row reads, the gate), what generation goes on with behind it)."""
    tokens, gate = inputs
    tails, memory = state
    convolved, behind_it = [], []
    for name, x, tail in zip(_TAPS, tokens, tails, strict=False):
        out, tail = next_conv(_flat(x), _flat(weights[name]), tail)
        convolved.append(out.reshape(x.shape))
        behind_it.append(tail)
    query, key, value = convolved
    given = _given(config, weights, tokens._replace(query=query, key=key, value=value))
    query, key, value, decay, rate = (x[:, 0] for x in given)
    out, memory = next_state(query, key, value, decay, rate, memory)
    return (out[:, None].astype(gate.dtype), gate), (tuple(behind_it), memory)


def behind(config: ModelConfig, weights: Mapping[str, Any], mixed: Mixed) -> Float[Array, "... embed"]:
    """Returns what the layer adds to the residual stream."""
    read, gate = mixed
    normed = rms_norm(read, weights["norm"], sizes_of(config).norm_eps).astype(jnp.float32)
    gated = (normed * jax.nn.silu(gate.astype(jnp.float32))).astype(read.dtype)
    return linear("...hd,hde->...e", gated, weights["output"])


def _given(
    config: ModelConfig, weights: Mapping[str, Any], tokens: Projected
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array, jax.Array]:
    """Returns query, key, value, decay and rate as the recurrence takes them, float32."""
    activate = ACTIVATION_FUNCTIONS[config.hidden_act]
    # Rounded to the dtype of the layer in between, as there.
    query, key, value = (activate(x.astype(jnp.float32)).astype(x.dtype).astype(jnp.float32) for x in tokens[:3])
    query, key = (x * jax.lax.rsqrt(jnp.sum(x * x, axis=-1, keepdims=True) + _EPSILON) for x in (query, key))
    wide = tokens.decay.astype(jnp.float32) + weights["decay_bias"].astype(jnp.float32)
    decay = -jnp.exp(weights["log_decay"].astype(jnp.float32)) * jax.nn.softplus(wide)
    rate = jax.nn.sigmoid(tokens.rate.astype(jnp.float32)) * sizes_of(config).rate_scale
    return query * query.shape[-1] ** -0.5, key, value, decay, rate


def _flat(x: jax.Array) -> jax.Array:
    """Returns the channels of all heads on one axis."""
    return x.reshape(*x.shape[:-2], -1)
