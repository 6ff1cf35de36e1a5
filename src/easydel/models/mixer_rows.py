"""The rows of the weight table that mixers other than attention have, and the sizes of their axes."""

from easydel.models.config import ModelConfig
from easydel.models.row_forms import LAYER, fused, linear
from easydel.weights.table import Part, Row


def mixer_sizes(config: ModelConfig) -> dict[str, int]:
    """Returns the size of every logical axis that only they have."""
    sizes = {"taps": config.taps} if config.mixers else {}
    if config.conv is not None:
        sizes |= {"channels": config.hidden_size}
    if config.delta is not None:
        delta = config.delta
        group = delta.value_heads // delta.key_heads
        sizes |= {"key_heads": delta.key_heads, "value_heads": delta.value_heads}
        sizes |= {"key_dim": delta.key_dim, "value_dim": delta.value_dim}
        # All that goes with a head of keys: query, key, values and gates; rates and decays.
        sizes |= {"head_width": 2 * delta.key_dim + 2 * group * delta.value_dim, "head_rates": 2 * group}
    return sizes


def mixer_rows(config: ModelConfig) -> list[Row]:
    """Returns their rows, which stand in the layers of each mixer alone."""
    rows = [] if config.conv is None else _conv(bias=config.conv.bias)
    rows += [] if config.delta is None else _delta(config.delta.form)
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


_KEYS, _VALUES = "(key_heads key_dim)", "(value_heads value_dim)"
# What the files call the tensors of the delta rule, by the form of its matrices.
_DELTA_NAMES = {"apart": ("o_proj", "o_norm"), "fused": ("out_proj", "norm"), "by_head": ("out_proj", "norm")}


def _delta(form: str) -> list[Row]:
    at, module = ("delta",), "linear_attn"
    output, norm = _DELTA_NAMES[form]
    return [
        *_delta_inputs(form, at),
        *_delta_taps(form, at),
        Row(f"{LAYER}.{module}.A_log", ("layers", *at, "log_decay"), "value_heads -> value_heads", "zeros"),
        Row(f"{LAYER}.{module}.dt_bias", ("layers", *at, "decay_bias"), "value_heads -> value_heads", "ones"),
        Row(f"{LAYER}.{module}.{norm}.weight", ("layers", *at, "norm"), "value_dim -> value_dim", "ones"),
        *linear(f"{module}.{output}", "output", "embed", _VALUES, bias=False, at=at),
    ]


def _delta_inputs(form: str, at: tuple[str, ...]) -> list[Row]:
    module = "linear_attn"
    outs = {"query": _KEYS, "key": _KEYS, "value": _VALUES}
    if form == "by_head":
        wide = {"in_proj_qkvz": ("qkvz", "(key_heads head_width)"), "in_proj_ba": ("ba", "(key_heads head_rates)")}
    elif form == "fused":
        wide = {"in_proj_z": ("gate", _VALUES), "in_proj_b": ("rate", "value_heads")}
        wide |= {"in_proj_a": ("decay", "value_heads")}
    else:
        wide = {f"{path[0]}_proj": (path, out) for path, out in outs.items()}
        wide |= {"g_proj": ("gate", _VALUES), "b_proj": ("rate", "value_heads"), "a_proj": ("decay", "value_heads")}
    rows = fused(f"{module}.in_proj_qkv", outs, "embed", at=at) if form == "fused" else []
    for name, (path, out) in wide.items():
        rows += linear(f"{module}.{name}", path, out, "embed", bias=False, at=at)
    return rows


def _delta_taps(form: str, at: tuple[str, ...]) -> list[Row]:
    groups = ("key_heads key_dim", "key_heads key_dim", "value_heads value_dim")
    rows = []
    for number, (path, axes) in enumerate(zip(("query", "key", "value"), groups, strict=True)):
        name, part = (f"{path[0]}_conv1d", None) if form == "apart" else ("conv1d", Part(number, groups))
        pattern = f"({axes}) () taps -> taps {axes}"
        rows.append(Row(f"{LAYER}.linear_attn.{name}.weight", ("layers", *at, f"{path}_taps"), pattern, part=part))
    return rows
