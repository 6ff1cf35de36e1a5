"""What the parameters of a decoder are: one table to load, export, shard and initialise them by."""

from functools import partial
from typing import Any

from easydel.models.config import ModelConfig
from easydel.weights.table import Part, Row, nest

_LAYER = "model.layers.{layer}"
TIED_HEAD = {"lm_head.weight": "model.embed_tokens.weight"}


def axis_sizes(config: ModelConfig) -> dict[str, int]:
    """Returns the size of every logical axis; `residual` is `embed` where an array is too small to split."""
    return {
        "layers": config.num_hidden_layers,
        "vocab": config.vocab_size,
        "embed": config.hidden_size,
        "residual": config.hidden_size,
        "heads": config.num_attention_heads,
        "kv_heads": config.num_key_value_heads,
        "head_dim": config.head_dim,
        "mlp": config.intermediate_size,
    }


def weight_rows(config: ModelConfig) -> list[Row]:
    """Returns the weight table of one configuration."""
    rows = [
        Row("model.embed_tokens.weight", ("embedding",), "vocab embed -> vocab embed"),
        *_norms(config),
        *_attention(config),
        *_mlp(config),
        Row("model.norm.weight", ("norm",), "residual -> residual", _norm_start(config)),
    ]
    if not config.tie_word_embeddings:
        rows.append(Row("lm_head.weight", ("head",), "vocab embed -> vocab embed"))
    return rows


def matrix_axes(config: ModelConfig) -> dict[str, Any]:
    """Returns, shaped like the parameters, (input axes, output axes) of each matrix between activations, else None.

    Embedding and head are tables of vectors, norms and biases are vectors: they have None.
    """

    def axes(row: Row) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
        groups, _ = row.sides
        if not row.stacked or len(groups) != 2:
            return None
        out, into = groups  # the order of a linear layer in the file
        return tuple(map(row.axes.index, into)), tuple(map(row.axes.index, out))

    return nest({row.path: axes(row) for row in weight_rows(config)})


def _norms(config: ModelConfig) -> list[Row]:
    """Where attention and MLP have norms behind them, the first takes the name of Llama's norm before the MLP."""
    names = {"attention_post_norm": "post_attention_layernorm", "mlp_post_norm": "post_feedforward_layernorm"}
    names = names if config.post_norm else {}
    if config.pre_norm:
        before_mlp = "pre_feedforward_layernorm" if config.post_norm else "post_attention_layernorm"
        names |= {"attention_norm": "input_layernorm", "mlp_norm": before_mlp}
    start = _norm_start(config)
    rows = [
        Row(f"{_LAYER}.{name}.weight", ("layers", path), "residual -> residual", start) for path, name in names.items()
    ]
    for path, name, heads in (("query_norm", "q_norm", "heads"), ("key_norm", "k_norm", "kv_heads")):
        pattern = {"head": "head_dim -> head_dim", "all": f"({heads} head_dim) -> {heads} head_dim"}
        if config.qk_norm:
            full_name = f"{_LAYER}.self_attn.{name}.weight"
            rows.append(Row(full_name, ("layers", path), pattern[config.qk_norm], start))
    return rows


def _norm_start(config: ModelConfig) -> str:
    return "zeros" if config.norm_offset else "ones"


def _attention(config: ModelConfig) -> list[Row]:
    heads, kv_heads = "(heads head_dim)", "(kv_heads head_dim)"
    output = _linear("self_attn.o_proj", "output", "embed", heads, bias=config.output_bias)
    if config.fused_projections:
        fused = _fused("self_attn.qkv_proj", {"query": heads, "key": kv_heads, "value": kv_heads}, "embed")
        return [*fused, *output]
    linear = partial(_linear, into="embed", bias=config.qkv_bias)
    return [
        *linear("self_attn.q_proj", "query", heads),
        *linear("self_attn.k_proj", "key", kv_heads),
        *linear("self_attn.v_proj", "value", kv_heads),
        *output,
    ]


def _mlp(config: ModelConfig) -> list[Row]:
    down = _linear("mlp.down_proj", "down", "embed", "mlp", bias=config.mlp_bias)
    if config.fused_projections:
        return [*_fused("mlp.gate_up_proj", {"gate": "mlp", "up": "mlp"}, "embed"), *down]
    linear = partial(_linear, into="embed", bias=config.mlp_bias)
    return [*linear("mlp.gate_proj", "gate", "mlp"), *linear("mlp.up_proj", "up", "mlp"), *down]


def _linear(name: str, path: str, out: str, into: str, *, bias: bool) -> list[Row]:
    """Returns the rows of a linear layer: the file keeps [out, in], we keep the input axes first."""
    rows = [Row(f"{_LAYER}.{name}.weight", ("layers", path, "kernel"), _matrix(out, into))]
    if bias:
        # The bias of an output projection lies on the residual stream, which is not split.
        axes = "residual" if out == "embed" else out
        rows.append(Row(f"{_LAYER}.{name}.bias", ("layers", path, "bias"), f"{axes} -> {axes.strip('()')}", "zeros"))
    return rows


def _fused(name: str, outs: dict[str, str], into: str) -> list[Row]:
    """Returns the rows of linear layers of one input that lie side by side in one tensor; `outs` is by our path."""
    groups = tuple(out.strip("()") for out in outs.values())
    return [
        Row(f"{_LAYER}.{name}.weight", ("layers", path, "kernel"), _matrix(out, into), part=Part(index, groups))
        for index, (path, out) in enumerate(outs.items())
    ]


def _matrix(out: str, into: str) -> str:
    return f"{out} {into} -> {into.strip('()')} {out.strip('()')}"
