"""The decoder: token ids in, hidden states out. One function serves every family, told apart by `ModelConfig`."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, Key

from easydel.errors import ConfigError, nearest
from easydel.models.config import ModelConfig
from easydel.models.experts import routes, routing_sums, sparse_mlp, usage
from easydel.models.kinds import Layer, Rope
from easydel.models.layers import gated_mlp, linear, rms_norm
from easydel.models.lora import with_dropout, with_shared
from easydel.models.per_token import PerToken, at_once, end_of_tokens, in_chunks
from easydel.models.quantize import Packed, dense, rows_at
from easydel.models.rope import Angles, rotary, rotate
from easydel.models.stack import run_stack
from easydel.ops.attention import MECHANISMS, packed_attention, resolve_mechanism
from easydel.ops.mechanism import Dropout, LayerAttention, needs_on
from easydel.ops.softcap import soft_cap
from easydel.sharding import looked_up, split_tokens

# A nested dict of arrays. What it holds for one configuration is said in `models/rows.py`.
Params = Mapping[str, Any]
# Attention of one layer that may also return something to keep, such as the keys and values of a cache.
KeepingAttention = Callable[[jax.Array, jax.Array, jax.Array, Dropout | None], tuple[jax.Array, Any]]

# For every `jax.jit` around a decoder, so that a forward pass rounds alike with and without gradients; otherwise policy
# and reference of equal weights would disagree at the first step. XLA may leave out a rounding to bfloat16; on CPU it
# hands those sums whose terms nobody else reads to a library (YNN) that has an `exp` of its own, so that the library
# gets single matrix products only, at which it is fast. The width is in bits
# and a wish, for processors that have it: attention is 15 % faster than at XLA's 256. Without the scheduler's taste for
# concurrency no work is begun before its result is needed, so that less memory is in use.
COMPILER_OPTIONS: dict[str, str | bool | int] = {
    "xla_allow_excess_precision": False,
    "xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT",
    "xla_cpu_enable_concurrency_optimized_scheduler": False,
    "xla_cpu_prefer_vector_width": 512,
}

# Slots in a chunk of `per_token.in_chunks`: of 128 to 1024 the fastest on CPU, and what a batch is rounded up to.
CHUNK = 512
# The weights of a layer that are used before attention; the others are used after it.
_BEFORE_ATTENTION = ("attention_norm", "qkv", "query", "key", "value", "query_norm", "key_norm")

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
        attn_mechanism: a name of `easydel.ops.attention.MECHANISMS`, or 'auto'.
        gradient_checkpointing: '' keeps every intermediate result of a layer for the backward pass; else the
            name of a policy in `jax.checkpoint_policies`.
        scan_layers: run the layers in a loop, which compiles once for all of them; False writes them out one by one.
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
    scan_layers: bool = True
    adapter_dropout: float = 0.0

    def __post_init__(self) -> None:
        _check_name("precision", self.precision, PRECISIONS)
        _check_name("gradient_checkpointing", self.gradient_checkpointing or None, CHECKPOINT_POLICIES)
        needs = needs_on(
            self.mesh,
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
    ) -> Float[Array, "rows length embed"]:
        """Returns the hidden states that meet the head, in `dtype`: after the final norm, over `logits_scaling`.

        Who sees whom is told by `segment`, `branch` and `position`, see `easydel.ops.visible`. The number of rows
        must be a multiple of `row_shards(mesh)`, their length of `length_shards(mesh)`. Dropout, of attention and of
        adapters, happens only with a `dropout_key`. `sequences` bounds how many answers there are, see
        `easydel.ops.attention.packed_attention`.
        """
        return self.with_routing(params, tokens, segment, branch, position, dropout_key, sequences)[0]

    def with_routing(
        self,
        params: Params,
        tokens: Int[Array, "rows length"],
        segment: Int[Array, "rows length"],
        branch: Int[Array, "rows length"],
        position: Int[Array, "rows length"],
        dropout_key: Key[Array, ""] | None = None,
        sequences: int | None = None,
    ) -> tuple[Float[Array, "rows length embed"], Float[Array, "2 experts"] | None]:
        """Returns what a call returns, and what the routers did: `experts.routing_sums` over all sparse layers.

        A token of a prompt counts twice, once for each of the two sequences that share it. None where there are no
        experts.
        """
        chunk = self.chunk
        if dropout_key is not None and self.adapter_dropout > 0:
            chunk = None  # chunks would all drop in the same places
            dropout_key, adapter_key = jax.random.split(dropout_key)
            params = with_dropout(params, self.adapter_dropout, adapter_key)
        mixes = self.row_attention(segment, branch, position, sequences)

        def attention(window: int | None, cache: Any) -> KeepingAttention:
            return lambda query, key, value, dropout: (mixes[window](query, key, value, dropout), None)

        counts = jnp.where(segment > 0, jnp.where(branch == 0, 2.0, 1.0), 0.0)
        hidden, (_, routed) = self.run_layers(
            params,
            tokens,
            self.angles(position, segment),
            attention,
            per_token=at_once if chunk is None else in_chunks(chunk, end_of_tokens(segment)),
            counts=counts,
            dropout_key=dropout_key,
        )
        return hidden, None if routed is None else jnp.sum(routed, axis=0)

    @property
    def chunk(self) -> int | None:
        """How many slots go through the layers at a time, up to the last token; None: all at once, filler too."""
        return CHUNK if self._platform == "cpu" and self.mesh.size == 1 else None

    def row_attention(
        self,
        segment: Int[Array, "rows length"],
        branch: Int[Array, "rows length"],
        position: Int[Array, "rows length"],
        sequences: int | None = None,
    ) -> dict[int | None, LayerAttention]:
        """Returns, by window, the attention of the layers that have it: `easydel.ops.attention.packed_attention`."""
        return {
            window: packed_attention(
                self.attn_mechanism,
                segment,
                branch,
                position,
                scale=self.config.attention_scale,
                mesh=self.mesh,
                sequences=sequences,
                window=window,
                score_cap=self.config.score_cap,
                precision=self.precision,
            )
            for window in {layer.window for layer in self.config.layers}
        }

    def angles(self, position: Int[Array, "rows length"], segment: Int[Array, "rows length"]) -> dict[Rope, Angles]:
        """Returns cosine and sine of every token for each rotary embedding of the layers, see `rope.rotary`."""
        return {rope: rotary(rope, position, segment) for rope in self.config.ropes}

    def head(self, params: Params) -> Float[Array, "vocab embed"]:
        """Returns the matrix that turns hidden states into logits: the LM head, or the tied embedding; not packed."""
        head = params["embedding"] if self.config.tie_word_embeddings else params["head"]
        return dense(head, self.dtype) if isinstance(head, Packed) else head

    def logits(self, params: Params, hidden: Float[Array, "rows length embed"]) -> Float[Array, "rows length vocab"]:
        """Returns the logits in float32; the operands are in `dtype`, the sums in float32."""
        head = self.head(params).astype(self.dtype)
        products = jnp.einsum("rle,ve->rlv", hidden, head, precision=self.precision, preferred_element_type=jnp.float32)
        return soft_cap(products, self.logit_cap)

    @property
    def logit_cap(self) -> float | None:
        """The bound of the soft cap of logits."""
        return self.config.logit_cap

    def run_layers(
        self,
        params: Params,
        tokens: Int[Array, "rows length"],
        angles: Mapping[Rope, Angles],
        attention: Callable[[int | None, Any], KeepingAttention],
        *,
        cache: Any = None,
        per_token: PerToken = at_once,
        counts: Float[Array, "rows length"] | None = None,
        dropout_key: Key[Array, ""] | None = None,
    ) -> tuple[Float[Array, "rows length embed"], tuple[Any, Float[Array, "layers 2 experts"] | None]]:
        """Returns (hidden states that meet the head, what each layer kept, stacked: its attention and its router).

        `attention` makes that of a layer from its window and its slice of `cache` (leaves [layers, ...]); `per_token`
        applies all else. Routers keep `experts.routing_sums`, 0 in layers that are not sparse; None without `counts` or
        experts.
        """
        config, rate = self.config, self.config.attention_dropout
        keys = None if dropout_key is None or rate == 0 else jax.random.split(dropout_key, config.num_hidden_layers)

        def step(kind: Layer, x: jax.Array, layer: Params, inputs: Any) -> tuple[jax.Array, Any]:
            layer_cache, key = inputs
            turned = None if kind.rope is None else angles[kind.rope]
            mix = attention(kind.window, layer_cache)
            dropout = None if key is None else (key, rate)
            function = partial(
                self._layer, turned=turned, attention=mix, per_token=per_token, counts=counts, dropout=dropout
            )
            return self._checkpointed(function)(x, layer)

        x = looked_up(lambda ids: rows_at(params["embedding"], ids, self.dtype), tokens, self.mesh)
        x = x * config.embedding_scale
        with self._in_precision():
            x, kept = run_stack(step, x, params["layers"], (cache, keys), config.layers, unrolled=not self.scan_layers)
        weight = (params["norm"].astype(jnp.float32) + config.norm_offset) / config.logits_scaling
        return rms_norm(x, weight, config.rms_norm_eps), kept

    def _checkpointed(self, function: Callable[..., tuple[jax.Array, Any]]) -> Callable[..., tuple[jax.Array, Any]]:
        if not self.gradient_checkpointing:
            return function
        policy = getattr(jax.checkpoint_policies, self.gradient_checkpointing)
        # Inside a loop the layers are apart anyway: the barrier against merging them would only cost time.
        return jax.checkpoint(function, policy=policy, prevent_cse=not self.scan_layers)

    def _layer(
        self,
        x: jax.Array,
        layer: Params,
        *,
        turned: Angles | None,
        attention: KeepingAttention,
        per_token: PerToken,
        counts: jax.Array | None,
        dropout: Dropout | None,
    ) -> tuple[jax.Array, tuple[Any, jax.Array | None]]:
        before = {name: layer[name] for name in layer if name in _BEFORE_ATTENTION}
        after = {name: layer[name] for name in layer if name not in before}
        query, key, value = per_token(self._before_attention, before, turned, x)
        mixed, kept = attention(query, key, value, dropout)
        x, used = per_token(self._after_attention, after, None, (x, mixed))
        routed = None if used is None or counts is None else routing_sums(used, counts)
        return split_tokens(x, self.mesh), (kept, routed)

    def _before_attention(
        self, layer: Params, turned: Angles | None, x: jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        layer = with_shared(layer)
        with self._in_precision():
            normed = self._normed(x, layer, "attention_norm")
            query = self._normed(linear("...e,ehd->...hd", normed, layer["query"]), layer, "query_norm")
            key = self._normed(linear("...e,ehd->...hd", normed, layer["key"]), layer, "key_norm")
            if turned is not None:
                query, key = rotate(query, *turned), rotate(key, *turned)
            return query, key, linear("...e,ehd->...hd", normed, layer["value"])

    def _after_attention(
        self, layer: Params, _: None, inputs: tuple[jax.Array, jax.Array]
    ) -> tuple[jax.Array, jax.Array | None]:
        """Returns (the residual stream after attention and MLP, which experts each token used, see `_mlp`)."""
        x, mixed = inputs
        layer, scale = with_shared(layer), self.config.residual_scale
        with self._in_precision():
            out = linear("...hd,hde->...e", mixed, layer["output"])
            x = x + scale * self._normed(out, layer, "attention_post_norm")
            out, used = self._mlp(self._normed(x, layer, "mlp_norm"), layer)
            return x + scale * self._normed(out, layer, "mlp_post_norm"), used

    def _mlp(self, x: jax.Array, layer: Params) -> tuple[jax.Array, jax.Array | None]:
        """Returns (what the MLP makes of `x`, `experts.usage`: 0 in a dense layer, None in a model without experts)."""
        experts, activation = self.config.experts, self.config.hidden_act
        if experts is None:
            return gated_mlp(x, layer, activation=activation), None
        if "experts" not in layer:
            unused = jnp.zeros((*x.shape[:-1], 2, experts.number), jnp.float32)
            return gated_mlp(x, layer, activation=activation), unused
        chosen = routes(x, layer["router"], experts)
        out = sparse_mlp(x, chosen, layer["experts"], activation=activation, mesh=self.mesh, precision=self.precision)
        return out, usage(chosen)

    def _normed(self, x: jax.Array, layer: Params, name: str) -> jax.Array:
        """Returns `x` after the norm of that name, or as it is where the layer has none."""
        if name not in layer:
            return x
        return rms_norm(x, layer[name].astype(jnp.float32) + self.config.norm_offset, self.config.rms_norm_eps)

    def _in_precision(self) -> AbstractContextManager[Any]:
        """A context and not an argument, so that it holds in every mechanism of attention.

        A gradient keeps it, but what a gradient calls anew is outside of it: such functions enter it themselves.
        """
        return nullcontext() if self.precision is None else jax.default_matmul_precision(self.precision)

    @property
    def _platform(self) -> str:
        return self.mesh.devices.flat[0].platform


def without_own_dropout(decoder: Decoder) -> Decoder:
    """Returns the decoder without the dropout that its configuration asks for; that of adapters stays."""
    return replace(decoder, config=replace(decoder.config, attention_dropout=0.0))


def _check_name(field: str, value: str | None, choices: tuple[str, ...]) -> None:
    if value is not None and value not in choices:
        raise ConfigError(
            f"{field} {value!r} is not supported.{nearest(value, choices)} Supported: {', '.join(choices)}."
        )
