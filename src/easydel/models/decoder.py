"""The decoder: token ids in, hidden states out. One function serves every family, told apart by `ModelConfig`."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, Key

from easydel.errors import ConfigError, unsupported
from easydel.models.config import ModelConfig
from easydel.models.decoder_layer import DecoderLayer, Params
from easydel.models.kinds import Layer, Rope
from easydel.models.layers import NORMS
from easydel.models.lora import with_dropout
from easydel.models.mixing import Mixing, row_mixing
from easydel.models.per_token import PerToken, at_once, end_of_tokens, in_chunks
from easydel.models.quantize import Quantized, dense, rows_at
from easydel.models.rope import Angles, rotary, temperature
from easydel.models.stack import run_stack
from easydel.ops.attention import MECHANISMS, resolve_mechanism
from easydel.ops.mechanism import in_precision, needs_on
from easydel.ops.softcap import soft_cap
from easydel.sharding import length_shards, looked_up

# For every `jax.jit` around a decoder, so that a forward pass rounds alike with and without gradients; otherwise policy
# and reference of equal weights would disagree at the first step. XLA may leave out a rounding to bfloat16; on CPU it
# hands those sums whose terms nobody else reads to a library (YNN) that has an `exp` of its own, so that the library
# gets single matrix products only, at which it is fast. The width is in bits,
# for processors that have it: attention is 15 % faster than at XLA's 256. Without the scheduler's taste for
# concurrency no work is begun before its result is needed, so that less memory is in use.
COMPILER_OPTIONS: dict[str, str | bool | int] = {
    "xla_allow_excess_precision": False,
    "xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT",
    "xla_cpu_enable_concurrency_optimized_scheduler": False,
    "xla_cpu_prefer_vector_width": 512,
}

# Positions in a chunk of `per_token.in_chunks`: of 128 to 1024 the fastest on CPU, and what a batch is rounded up to.
CHUNK = 512
PRECISIONS = ("default", "high", "highest")
# Those policies of `jax.checkpoint_policies` that are policies, not functions that make one.
CHECKPOINT_POLICIES = (
    *("checkpoint_dots", "checkpoint_dots_with_no_batch_dims", "dots_saveable", "dots_with_no_batch_dims_saveable"),
    *("everything_saveable", "nothing_saveable"),
)


@dataclass(frozen=True)
class Decoder:
    """A decoder without its weights: hashable, so that functions can be compiled with it as a constant.

    Attributes:
        dtype: what the computation runs in; weights are cast to it where they are used.
        precision: of all matrix products, as in `jax.lax.Precision`: 'default', 'high' or 'highest'; None leaves it
            to `jax_default_matmul_precision`.
        attn_mechanism: a name of `easydel.ops.attention.MECHANISMS`, or 'auto'.
        gradient_checkpointing: '' keeps every intermediate result of a layer for the backward pass; else the
            name of a policy in `jax.checkpoint_policies`.
        scan_layers: run the layers in a loop, which compiles once for all of them; False writes them out one by one.
        adapter_dropout: share of the inputs of adapters that are dropped in training.

    Raises:
        ConfigError: an unknown name, a mechanism that cannot serve the model, or devices for experts that it has not.
    """

    config: ModelConfig
    mesh: Mesh
    dtype: DTypeLike = jnp.bfloat16
    precision: str | None = None
    attn_mechanism: str = "auto"
    gradient_checkpointing: str = ""
    scan_layers: bool = True
    adapter_dropout: float = 0.0

    def __post_init__(self) -> None:
        if self.precision not in (None, *PRECISIONS):
            raise unsupported("precision", self.precision, PRECISIONS)
        if self.gradient_checkpointing and self.gradient_checkpointing not in CHECKPOINT_POLICIES:
            raise unsupported("gradient_checkpointing", self.gradient_checkpointing, CHECKPOINT_POLICIES)
        needs = needs_on(
            self.mesh,
            heads=(self.config.num_attention_heads, self.config.num_key_value_heads),
            head_dim=self.config.head_dim,
            dtype=self.dtype,
            dropout_rate=self.config.attention_dropout,
            score_cap=self.config.score_cap,
        )
        mechanism = resolve_mechanism(self.attn_mechanism, needs)
        if self.mesh.shape["ep"] > 1 and self.config.experts is None:
            raise ConfigError(
                f"sharding_axis_dims has {self.mesh.shape['ep']} devices for experts (ep), and a "
                f"{self.config.model_type} model has no experts: ep must be 1."
            )
        if self.config.mixers and length_shards(self.mesh) > 1:
            raise ConfigError(
                f"sharding_axis_dims splits every row over {length_shards(self.mesh)} devices (sp), and a "
                f"{self.config.model_type} model has layers ({', '.join(self.config.mixers)}) in which a token needs "
                "all that comes before it: sp must be 1. Use fsdp or tp."
            )
        object.__setattr__(self, "attn_mechanism", mechanism)
        object.__setattr__(self, "dtype", jnp.dtype(self.dtype))

    @property
    def has_dense_mask(self) -> bool:
        """Whether attention computes every score of a row, so that its cost grows with the square of the length."""
        return MECHANISMS[self.attn_mechanism].dense_mask

    def __call__(
        self,
        params: Params,
        tokens: Int[Array, "rows length"],
        segment: Int[Array, "rows length"],
        branch: Int[Array, "rows length"],
        position: Int[Array, "rows length"],
        dropout_key: Key[Array, ""] | None = None,
        sequences: int | None = None,
    ) -> tuple[Float[Array, "rows length embed"], Float[Array, "2 experts"] | None]:
        """Returns (the hidden states that meet the head, what the routers did, None without experts).

        Hidden states are in `dtype`: after the final norm, over `logits_scaling`. Of the routers it is
        `experts.routing_sums` over all sparse layers, in which a token of a prompt counts twice, once for each of the
        two sequences that share it.

        `segment`, `branch` and `position` say which token sees which, see `easydel.ops.visible`. The number of rows
        must be a multiple of `row_shards(mesh)`, their length of `length_shards(mesh)`. Dropout, of attention and of
        adapters, happens only with a `dropout_key`. `sequences` is the maximum number of completions, see
        `easydel.ops.attention.packed_attention`.
        """
        chunk = self.chunk
        if dropout_key is not None and self.adapter_dropout > 0:
            chunk = None  # chunks would all drop in the same places
            dropout_key, adapter_key = jax.random.split(dropout_key)
            params = with_dropout(params, self.adapter_dropout, adapter_key)
        counts = jnp.where(segment > 0, jnp.where(branch == 0, 2.0, 1.0), 0.0)
        hidden, kept = self.run_layers(
            params,
            tokens,
            self.angles(position, segment),
            self.row_mixing(segment, branch, position, sequences),
            per_token=at_once if chunk is None else in_chunks(chunk, end_of_tokens(segment)),
            counts=counts,
            dropout_key=dropout_key,
        )
        return hidden, None if kept["routed"] is None else jnp.sum(kept["routed"], axis=0)

    @property
    def chunk(self) -> int | None:
        """How many positions go through the layers at a time, up to the last token; None: all, padding too."""
        return CHUNK if self.platform == "cpu" and self.mesh.size == 1 else None

    def row_mixing(
        self,
        segment: Int[Array, "rows length"],
        branch: Int[Array, "rows length"],
        position: Int[Array, "rows length"],
        sequences: int | None = None,
        *,
        with_state: bool = False,
    ) -> Mixing:
        """Returns what mixes the tokens of these rows in each kind of layer: `mixing.row_mixing`."""
        return row_mixing(
            self.config,
            self.mesh,
            self.attn_mechanism,
            self.precision,
            (segment, branch, position),
            sequences=sequences,
            with_state=with_state,
        )

    def angles(self, position: Int[Array, "rows length"], segment: Int[Array, "rows length"]) -> dict[Rope, Angles]:
        """Returns `rope.rotary` and `rope.temperature` of every token for each rotary embedding of the layers."""
        return {rope: (*rotary(rope, position, segment), temperature(rope, position)) for rope in self.config.ropes}

    def head(self, params: Params) -> Float[Array, "vocab embed"]:
        """Returns the matrix that gives logits of hidden states, dequantized: the LM head, or the tied embedding."""
        head = params["embedding"] if self.config.tie_word_embeddings else params["head"]
        return dense(head, self.dtype) if isinstance(head, Quantized) else head

    def logits(self, params: Params, hidden: Float[Array, "rows length embed"]) -> Float[Array, "rows length vocab"]:
        """Returns the logits in float32; the operands are in `dtype`, the sums in float32."""
        head = self.head(params).astype(self.dtype)
        products = jnp.einsum("rle,ve->rlv", hidden, head, precision=self.precision, preferred_element_type=jnp.float32)
        return soft_cap(products, self.logit_cap)

    @property
    def platform(self) -> str:
        """That of the devices, as jax calls it."""
        return self.mesh.devices.flat[0].platform

    @property
    def logit_cap(self) -> float | None:
        """The bound of the soft cap of logits."""
        return self.config.logit_cap

    def run_layers(
        self,
        params: Params,
        tokens: Int[Array, "rows length"],
        angles: Mapping[Rope, Angles],
        mixing: Mixing,
        *,
        cache: Mapping[str, Any] | None = None,
        per_token: PerToken = at_once,
        counts: Float[Array, "rows length"] | None = None,
        dropout_key: Key[Array, ""] | None = None,
    ) -> tuple[Float[Array, "rows length embed"], dict[str, Any]]:
        """Returns (hidden states that meet the head, what layers kept, by name of the mixer, and `routed`).

        What is kept, and `cache`, have leaves [layers that have it, ...]. `mixing` makes what mixes the tokens of a
        layer from its kind and its slice of `cache`; `per_token` applies all else. Routers keep `experts.routing_sums`,
        0 in layers that are not sparse; None without `counts` or experts.
        """
        config, rate = self.config, self.config.attention_dropout
        keys = None if dropout_key is None or rate == 0 else jax.random.split(dropout_key, config.num_hidden_layers)

        def step(kind: Layer, x: jax.Array, layer: Params, given: Params) -> tuple[jax.Array, Params]:
            turned = None if kind.rope is None else angles[kind.rope]
            mix = mixing(kind, given.get(kind.mixer))
            dropout = (given["dropout"], rate) if "dropout" in given else None
            function = partial(block, turned=turned, mix=mix, per_token=per_token, counts=counts, dropout=dropout)
            if self.gradient_checkpointing:
                policy = getattr(jax.checkpoint_policies, self.gradient_checkpointing)
                # Inside a loop the layers are apart anyway: the barrier against merging them would only cost time.
                function = jax.checkpoint(function, policy=policy, prevent_cse=not self.scan_layers)
            x, (kept, routed) = function(x, layer)
            return x, {kind.mixer: kept, "routed": routed}

        block = DecoderLayer(config, self.mesh, self.precision)

        x = looked_up(lambda ids: rows_at(params["embedding"], ids, self.dtype), tokens, self.mesh)
        x = x * config.embedding_scale
        with in_precision(self.precision):  # not an argument, so that it holds in every mechanism of attention
            given = dict(cache or {}) if keys is None else {**(cache or {}), "dropout": keys}
            x, kept = run_stack(step, x, params["layers"], given, config.layers, unrolled=not self.scan_layers)
        weight = (params["norm"].astype(jnp.float32) + config.norm_offset) / config.logits_scaling
        return NORMS[config.norm](x, weight, config.rms_norm_eps), kept


def without_own_dropout(decoder: Decoder) -> Decoder:
    """Returns the decoder without the dropout that its configuration asks for; that of adapters stays."""
    return replace(decoder, config=replace(decoder.config, attention_dropout=0.0, residual_dropout=0.0))
