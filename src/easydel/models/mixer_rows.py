"""The rows of the weight table that mixers other than attention have, and the sizes of their axes."""

from easydel.models.config import ModelConfig
from easydel.models.row_forms import LAYER, fused, linear
from easydel.weights.table import Row


def mixer_sizes(config: ModelConfig) -> dict[str, int]:
    """Returns the size of every logical axis that only they have."""
    return {} if config.conv is None else {"channels": config.hidden_size, "taps": config.conv.taps}


def mixer_rows(config: ModelConfig) -> list[Row]:
    """Returns their rows, which stand in the layers of each mixer alone."""
    rows = [] if config.conv is None else _conv(bias=config.conv.bias)
    found = []
    for row in rows:
        having = tuple(at for at, layer in enumerate(config.layers) if layer.mixer == row.path[1])
        found += [row._replace(layers=having)] if having else []
    return found


def _conv(*, bias: bool) -> list[Row]:
    at = ("conv",)
    outs = {"in_gate": "channels", "out_gate": "channels", "input": "channels"}
    rows = [
        *fused("conv.in_proj", outs, "embed", bias=bias, at=at),
        Row(f"{LAYER}.conv.conv.weight", ("layers", *at, "taps"), "channels () taps -> taps channels"),
        *linear("conv.out_proj", "output", "embed", "channels", bias=bias, at=at),
    ]
    if bias:
        rows.append(Row(f"{LAYER}.conv.conv.bias", ("layers", *at, "taps_bias"), "channels -> channels", "zeros"))
    return rows
