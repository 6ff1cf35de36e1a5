"""The decoder: token ids in, hidden states out. One function serves every family, told apart by `ModelConfig`."""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, Key

from easydel.attention import Dropout, LayerAttention, packed_attention, resolve_mechanism
from easydel.errors import ConfigError, nearest
from easydel.models.config import ModelConfig
from easydel.models.layers import gated_mlp, linear, rms_norm
from easydel.models.lora import with_dropout
from easydel.models.quantize import Packed, dense, rows_at
from easydel.models.rope import rotary, rotate
from easydel.sharding import constrain

# A nested dict of arrays. What it holds for one configuration is said in `models/rows.py`.
Params = Mapping[str, Any]
# Attention of one layer that may also return something to keep, such as the keys and values of a cache.
KeepingAttention = Callable[[jax.Array, jax.Array, jax.Array, Dropout | None], tuple[jax.Array, Any]]

# For every `jax.jit` around a decoder, so that a forward pass rounds alike with and without gradients; otherwise policy
# and reference of equal weights would disagree at the first step. XLA may leave out a rounding to bfloat16; on CPU it
# hands those sums whose terms nobody else reads to a library (YNN) that has an `exp` of its own. The width is in bits
# and a wish, for processors that have it: attention is 15 % faster than at XLA's 256.
COMPILER_OPTIONS: dict[str, str | bool | int] = {
    "xla_allow_excess_precision": False,
    "xla_cpu_experimental_ynn_fusion_type": "",
    "xla_cpu_prefer_vector_width": 512,
}

PRECISIONS = ("default", "high", "highest")
# Those policies of `jax.checkpoint_policies` that are policies, not functions that make one.
CHECKPOINT_POLICIES = (
    "checkpoint_dots",
    "checkpoint_dots_with_no_batch_dims",
    "dots_saveable",
    "dots_with_no_batch_dims_saveable",
    "everything_saveable",
    "nothing_saveable",
)


@dataclass(frozen=True)
class Decoder:
    """A decoder without its weights: hashable, so that functions can be compiled with it as a constant.

    Attributes:
        dtype: what the computation runs in; weights are cast to it where they are used.
        precision: of all matrix products, as in `jax.lax.Precision`: 'default', 'high' or 'highest'; None leaves it
            to `jax_default_matmul_precision`.
        attn_mechanism: a name of `easydel.attention.MECHANISMS`, or 'auto'.
        gradient_checkpointing: '' keeps every intermediate result of a layer for the backward pass; else the
            name of a policy in `jax.checkpoint_policies`.
        scan_layers: run the layers in a loop, which compiles faster. None: yes, except on CPU, where the loop
            costs 15-25 % of the time.
        adapter_dropout: share of the inputs of adapters that are dropped in training.

    Raises:
        ConfigError: a name that does not exist.
    """

    config: ModelConfig
    mesh: Mesh
    dtype: DTypeLike = jnp.bfloat16
    precision: str | None = None
    attn_mechanism: str = "auto"
    gradient_checkpointing: str = ""
    scan_layers: bool | None = None
    adapter_dropout: float = 0.0

    def __post_init__(self) -> None:
        _check_name("precision", self.precision, PRECISIONS)
        _check_name("gradient_checkpointing", self.gradient_checkpointing or None, CHECKPOINT_POLICIES)
        mechanism = resolve_mechanism(
            self.attn_mechanism, platform=self._platform, dropout_rate=self.config.attention_dropout
        )
        object.__setattr__(self, "attn_mechanism", mechanism)
        object.__setattr__(self, "dtype", jnp.dtype(self.dtype))

    def __call__(
        self,
        params: Params,
        tokens: Int[Array, "rows length"],
        segment: Int[Array, "rows length"],
        branch: Int[Array, "rows length"],
        position: Int[Array, "rows length"],
        dropout_key: Key[Array, ""] | None = None,
    ) -> Float[Array, "rows length embed"]:
        """Returns the hidden states after the final norm, in `dtype`.

        Who sees whom is told by `segment` and `branch`, see `easydel.attention.visible`. The number of rows
        must be a multiple of `row_shards(mesh)`. Dropout, of attention and of adapters, happens only with a
        `dropout_key`.
        """
        if dropout_key is not None and self.adapter_dropout > 0:
            dropout_key, adapter_key = jax.random.split(dropout_key)
            params = with_dropout(params, self.adapter_dropout, adapter_key)
        mix = self.row_attention(segment, branch)
        hidden, _ = self.run_layers(
            params,
            tokens,
            rotary(self.config, position, segment),
            lambda cache: lambda query, key, value, dropout: (mix(query, key, value, dropout), None),
            dropout_key=dropout_key,
        )
        return hidden

    def row_attention(self, segment: Int[Array, "rows length"], branch: Int[Array, "rows length"]) -> LayerAttention:
        """Returns the attention of every layer on rows of this layout, see `easydel.attention.packed_attention`."""
        scale = self.config.head_dim**-0.5
        return packed_attention(
            self.attn_mechanism, segment, branch, scale=scale, mesh=self.mesh, precision=self.precision
        )

    def head(self, params: Params) -> Float[Array, "vocab embed"]:
        """Returns the matrix that turns hidden states into logits: the LM head, or the tied embedding; not packed."""
        head = params["embedding"] if self.config.tie_word_embeddings else params["head"]
        return dense(head, self.dtype) if isinstance(head, Packed) else head

    def logits(self, params: Params, hidden: Float[Array, "rows length embed"]) -> Float[Array, "rows length vocab"]:
        """Returns the logits in float32; the operands are in `dtype`, the sums in float32."""
        head = self.head(params).astype(self.dtype)
        return jnp.einsum("rle,ve->rlv", hidden, head, precision=self.precision, preferred_element_type=jnp.float32)

    def run_layers(
        self,
        params: Params,
        tokens: Int[Array, "rows length"],
        angles: tuple[jax.Array, jax.Array],
        attention: Callable[[Any], KeepingAttention],
        *,
        cache: Any = None,
        dropout_key: Key[Array, ""] | None = None,
    ) -> tuple[Float[Array, "rows length embed"], Any]:
        """Returns (hidden states after the final norm, what the attention of each layer kept, stacked).

        `attention` makes the attention of a layer from that layer's slice of `cache` (leaves [layers, ...]).
        """
        rate = self.config.attention_dropout
        keys = None if dropout_key is None or rate == 0 else jax.random.split(dropout_key, self._layers)

        def step(x: jax.Array, per_layer: Any) -> tuple[jax.Array, Any]:
            layer, layer_cache, key = per_layer
            return self._layer(x, layer, angles, attention(layer_cache), None if key is None else (key, rate))

        if self.gradient_checkpointing:
            policy = getattr(jax.checkpoint_policies, self.gradient_checkpointing)
            # Inside a loop the layers are apart anyway: the barrier against merging them would only cost time.
            step = jax.checkpoint(step, policy=policy, prevent_cse=self._unrolled)
        x = constrain(
            rows_at(params["embedding"], tokens, self.dtype),
            ("rows", "length", "residual"),
            self.mesh,
            name="tokens",
        )
        # A context and not an argument, so that it holds in every mechanism of attention; gradients keep it.
        with nullcontext() if self.precision is None else jax.default_matmul_precision(self.precision):
            unroll = self._layers if self._unrolled else 1
            x, kept = jax.lax.scan(step, x, (params["layers"], cache, keys), unroll=unroll)
        return rms_norm(x, params["norm"], self.config.rms_norm_eps), kept

    def _layer(
        self,
        x: jax.Array,
        layer: Params,
        angles: tuple[jax.Array, jax.Array],
        attention: KeepingAttention,
        dropout: Dropout | None,
    ) -> tuple[jax.Array, Any]:
        normed = rms_norm(x, layer["attention_norm"], self.config.rms_norm_eps)
        query = rotate(linear("rle,ehd->rlhd", normed, layer["query"]), *angles)
        key = rotate(linear("rle,ehd->rlhd", normed, layer["key"]), *angles)
        value = linear("rle,ehd->rlhd", normed, layer["value"])
        mixed, kept = attention(query, key, value, dropout)
        x = x + linear("rlhd,hde->rle", mixed, layer["output"])
        normed = rms_norm(x, layer["mlp_norm"], self.config.rms_norm_eps)
        x = x + gated_mlp(normed, layer, activation=self.config.hidden_act)
        return constrain(x, ("rows", "length", "residual"), self.mesh), kept

    @property
    def _layers(self) -> int:
        return self.config.num_hidden_layers

    @property
    def _platform(self) -> str:
        return self.mesh.devices.flat[0].platform

    @property
    def _unrolled(self) -> bool:
        return self._platform == "cpu" if self.scan_layers is None else not self.scan_layers


def without_own_dropout(decoder: Decoder) -> Decoder:
    """Returns the decoder without the dropout that its configuration asks for; that of adapters stays."""
    return replace(decoder, config=replace(decoder.config, attention_dropout=0.0))


def _check_name(field: str, value: str | None, choices: tuple[str, ...]) -> None:
    if value is not None and value not in choices:
        raise ConfigError(
            f"{field} {value!r} is not supported.{nearest(value, choices)} Supported: {', '.join(choices)}."
        )
