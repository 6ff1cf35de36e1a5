"""What lets the tokens of a layer know of each other where that is not attention: convolutions and recurrences.

A mixer must not leak in packed rows: each pair starts from nothing, and the chosen and the rejected completion both
start from what the prompt left, which is computed once: `easydel.ops.causal_conv` sees to it. Before and behind the
part that mixes, a mixer looks at single tokens.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax

from easydel.models import delta_net, short_conv
from easydel.models.config import ModelConfig
from easydel.models.packed_layout import PackedLayout


class Mixer(NamedTuple):
    """The functions of a mixer; weights are those of one layer, `layer[name of the mixer]`.

    Attributes:
        before: (config, weights, x after the norm) -> what is mixed, for each token.
        mix: (config, weights, what is mixed, layout) -> (mixed, the state behind the last token of each row, None
            unless `PackedLayout.with_state`).
        step: (config, weights, what is mixed of one more token of each row, state) -> (mixed, state).
        behind: (config, weights, mixed) -> what is added to the residual stream, for each token.
        before_weights, mix_weights: names of weights that these use; `behind` uses the others.
    """

    before: Callable[[ModelConfig, Mapping[str, Any], jax.Array], Any]
    mix: Callable[[ModelConfig, Mapping[str, Any], Any, PackedLayout], tuple[Any, Any]]
    step: Callable[[ModelConfig, Mapping[str, Any], Any, Any], tuple[Any, Any]]
    behind: Callable[[ModelConfig, Mapping[str, Any], Any], jax.Array]
    before_weights: tuple[str, ...]
    mix_weights: tuple[str, ...]


MIXERS: Mapping[str, Mixer] = {
    "conv": Mixer(
        short_conv.before,
        short_conv.mix,
        short_conv.step,
        short_conv.behind,
        short_conv.BEFORE,
        short_conv.MIXING,
    ),
    "delta": Mixer(
        delta_net.before,
        delta_net.mix,
        delta_net.step,
        delta_net.behind,
        delta_net.BEFORE,
        delta_net.MIXING,
    ),
}
