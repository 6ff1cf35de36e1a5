"""What mixes the tokens of each layer in packed rows: attention, or another mixer, with the layout already in it."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
from jax.sharding import Mesh
from jaxtyping import Array, Int

from easydel.models.config import ModelConfig
from easydel.models.kinds import Layer
from easydel.models.mixers import MIXERS
from easydel.models.packed_layout import PackedLayout, packed_layout
from easydel.ops.attention import packed_attention
from easydel.ops.mechanism import Dropout, LayerAttention

# Of attention (query, key, value, dropout), of another mixer (weights, what is mixed) -> (mixed, what is kept).
Mix = Callable[..., tuple[Any, Any]]
# (kind of layer, its slice of a cache) -> its mix
Mixing = Callable[[Layer, Any], Mix]


def row_mixing(
    config: ModelConfig,
    mesh: Mesh,
    mechanism: str,
    precision: str | None,
    layout: tuple[Int[Array, "rows length"], Int[Array, "rows length"], Int[Array, "rows length"]],
    *,
    sequences: int | None = None,
    with_state: bool = False,
) -> Mixing:
    """Returns what mixes the tokens of rows of one layout (segment, branch, position) in each kind of layer.

    Args:
        mechanism, precision: of attention.
        sequences: the maximum number of completions, see `easydel.ops.attention.packed_attention`.
        with_state: keep what generation goes on with: keys and values, or the state behind the last token of a row.
    """
    attentions = {
        window: packed_attention(
            mechanism,
            *layout,
            scale=config.attention_scale,
            mesh=mesh,
            sequences=sequences,
            window=window,
            score_cap=config.score_cap,
            precision=precision,
        )
        for window in {layer.window for layer in config.layers if layer.mixer == "attention"}
    }
    rows = packed_layout(*layout[:2], taps=config.taps, mesh=mesh, with_state=with_state) if config.mixers else None

    def mixing(kind: Layer, _: Any) -> Mix:
        if rows is None or kind.mixer == "attention":
            return _keeping(attentions[kind.window], with_state)
        return partial(_mixed, config, rows, kind.mixer)

    return mixing


def _keeping(attention: LayerAttention, with_state: bool) -> Mix:
    def mix(query: jax.Array, key: jax.Array, value: jax.Array, dropout: Dropout | None) -> tuple[jax.Array, Any]:
        return attention(query, key, value, dropout), (key, value) if with_state else None

    return mix


def _mixed(config: ModelConfig, rows: PackedLayout, name: str, weights: Mapping[str, Any], x: Any) -> tuple[Any, Any]:
    # Only what is mixed is kept for the backward pass, which computes the rest again.
    return jax.checkpoint(lambda weights, x: MIXERS[name].mix(config, weights, x, rows))(weights, x)
