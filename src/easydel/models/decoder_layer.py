"""One layer of the decoder: a mixer, mostly attention, and an MLP on the residual stream, as `ModelConfig` says."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Float

from easydel.models.config import ModelConfig
from easydel.models.experts import routes, routing_sums, shared_expert, sparse_mlp, usage
from easydel.models.layers import NORMS, gated_mlp, linear
from easydel.models.lora import with_shared
from easydel.models.mixers import MIXERS
from easydel.models.mixing import Mix
from easydel.models.per_token import PerToken
from easydel.models.rope import Angles, rotate
from easydel.ops.mechanism import Dropout, in_precision
from easydel.sharding import split_tokens

# A nested dict of arrays; `models/rows.py` lists them.
Params = Mapping[str, Any]
# The weights that are used before attention; the others are used after it.
_BEFORE_ATTENTION = ("attention_norm", "qkv", "query", "key", "value", "query_norm", "key_norm")


@dataclass(frozen=True)
class DecoderLayer:
    """A layer without its weights: what all layers of a decoder have in common."""

    config: ModelConfig
    mesh: Mesh
    precision: str | None

    def __call__(
        self,
        x: Float[Array, "rows length embed"],
        layer: Params,
        *,
        turned: Angles | None,
        mix: Mix,
        per_token: PerToken,
        counts: Float[Array, "rows length"] | None,
        dropout: Dropout | None,
    ) -> tuple[Float[Array, "rows length embed"], tuple[Any, Float[Array, "2 experts"] | None]]:
        """Returns (the residual stream after the layer, (what its mixer kept, `experts.routing_sums`)).

        Args:
            layer: the weights of this layer.
            turned: cosine and sine of its rotary embedding, None where it has none.
            mix: lets tokens know of each other, see `mixing.Mix`.
            per_token: applies all else.
            counts: how often each token counts in the sums of the router; None leaves the sums out.
            dropout: of attention.
        """
        name = next((name for name in MIXERS if name in layer), "")
        if name:
            before, mixing, after = _parts(layer, name)
            inputs = per_token(self._before_mixer, before, None, x)
            mixed, kept = mix(mixing, inputs)
        else:
            before = {name: layer[name] for name in layer if name in _BEFORE_ATTENTION}
            after = {name: layer[name] for name in layer if name not in before}
            if self.config.parallel:
                after["attention_norm"] = layer["attention_norm"]
            query, key, value, gate = per_token(self._before, before, turned, x)
            mixed, kept = mix(query, key, value, dropout)
            mixed = (mixed, gate)
        x, used = per_token(self._after, after, None, (x, mixed))
        routed = None if used is None or counts is None else routing_sums(used, counts)
        return split_tokens(x, self.mesh), (kept, routed)

    def _before(
        self, layer: Params, turned: Angles | None, x: jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array | None]:
        """Returns query, key and value, and the gate of what is read where there is one."""
        layer = with_shared(layer)
        with in_precision(self.precision):
            normed = self._normed(x, layer, "attention_norm")
            query, gate = self._query(normed, layer)
            query = self._normed(query, layer, "query_norm")
            key = self._normed(linear("...e,ehd->...hd", normed, layer["key"]), layer, "key_norm")
            if turned is not None:
                *angles, temperature = turned
                turn = partial(rotate, neighbors=self.config.neighbors)
                query, key = turn(query, *angles), turn(key, *angles)
                if temperature is not None:
                    query = query * temperature[..., None, None].astype(query.dtype)
            return query, key, linear("...e,ehd->...hd", normed, layer["value"]), gate

    def _query(self, normed: jax.Array, layer: Params) -> tuple[jax.Array, jax.Array | None]:
        if not self.config.gated_attention:
            return linear("...e,ehd->...hd", normed, layer["query"]), None
        both = linear("...e,ehgd->...hgd", normed, layer["query"])
        return both[..., 0, :], both[..., 1, :]

    def _before_mixer(self, layer: Params, _: None, x: jax.Array) -> Any:
        [(name, weights)] = ((name, layer[name]) for name in MIXERS if name in layer)
        with in_precision(self.precision):
            return MIXERS[name].before(self.config, with_shared(weights), self._normed(x, layer, "attention_norm"))

    def _after(self, layer: Params, _: None, inputs: tuple[jax.Array, Any]) -> tuple[jax.Array, jax.Array | None]:
        """Returns (the residual stream after attention and MLP, which experts each token used, see `_mlp`)."""
        x, mixed = inputs
        layer, scale = with_shared(layer), self.config.residual_scale
        with in_precision(self.precision):
            out = self._mixed(mixed, layer)
            if self.config.parallel:
                made, used = self._mlp(self._normed(x, layer, "attention_norm"), layer)
                return x + scale * (out + made), used
            x = x + scale * self._normed(out, layer, "attention_post_norm")
            out, used = self._mlp(self._normed(x, layer, "mlp_norm"), layer)
            return x + scale * self._normed(out, layer, "mlp_post_norm"), used

    def _mixed(self, mixed: Any, layer: Params) -> jax.Array:
        """Returns what the mixer of a layer adds to the residual stream."""
        for name in MIXERS:
            if name in layer:
                return MIXERS[name].behind(self.config, with_shared(layer[name]), mixed)
        read, gate = mixed
        if gate is not None:
            read = read * jax.nn.sigmoid(gate)
        return linear("...hd,hde->...e", read, layer["output"])

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
        if experts.shared:
            out = out + shared_expert(x, layer, activation=activation)
        return out, usage(chosen)

    def _normed(self, x: jax.Array, layer: Params, name: str) -> jax.Array:
        """Returns `x` after the norm of that name, or as it is where the layer has none."""
        if name not in layer:
            return x
        norm = NORMS["rms" if name in ("query_norm", "key_norm") else self.config.norm]
        return norm(x, layer[name].astype(jnp.float32) + self.config.norm_offset, self.config.rms_norm_eps)


def _parts(layer: Params, name: str) -> tuple[Params, Params, Params]:
    """Returns the weights of a layer that are used before the tokens are mixed, for that, and after it."""
    own, mixer = layer[name], MIXERS[name]
    first = {key: own[key] for key in own if key in mixer.before_weights}
    mixing = {key: own[key] for key in own if key in mixer.mix_weights}
    rest = {key: own[key] for key in own if key not in first and key not in mixing}
    before = {key: layer[key] for key in layer if key in _BEFORE_ATTENTION}
    after = {key: layer[key] for key in layer if key not in before and key != name}
    return {**before, name: first}, mixing, {**after, name: rest}
