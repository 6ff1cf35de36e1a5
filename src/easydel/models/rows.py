"""What the parameters of a decoder are: one table to load, export, shard and initialise them by."""

from collections.abc import Sequence
from typing import Any

from easydel.models.config import ModelConfig
from easydel.weights.table import Row, nest

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
        *_norm(f"{_LAYER}.input_layernorm", "attention_norm"),
        *_linear("self_attn.q_proj", "query", "(heads head_dim)", "embed", config.qkv_bias),
        *_linear("self_attn.k_proj", "key", "(kv_heads head_dim)", "embed", config.qkv_bias),
        *_linear("self_attn.v_proj", "value", "(kv_heads head_dim)", "embed", config.qkv_bias),
        *_linear("self_attn.o_proj", "output", "embed", "(heads head_dim)", config.output_bias),
        *_norm(f"{_LAYER}.post_attention_layernorm", "mlp_norm"),
        *_linear("mlp.gate_proj", "gate", "mlp", "embed", config.mlp_bias),
        *_linear("mlp.up_proj", "up", "mlp", "embed", config.mlp_bias),
        *_linear("mlp.down_proj", "down", "embed", "mlp", config.mlp_bias),
        Row("model.norm.weight", ("norm",), "residual -> residual", start="ones"),
    ]
    if not config.tie_word_embeddings:
        rows.append(Row("lm_head.weight", ("head",), "vocab embed -> vocab embed"))
    return rows


def matrix_axes(rows: Sequence[Row]) -> dict[str, Any]:
    """Returns, shaped like the parameters, (input axes, output axes) of each matrix between activations, else None.

    Embedding and head are tables of vectors, norms and biases are vectors: they have None.
    """

    def axes(row: Row) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
        groups, _ = row.sides
        if not row.stacked or len(groups) != 2:
            return None
        out, into = groups  # the order of a linear layer in the file
        return tuple(map(row.axes.index, into)), tuple(map(row.axes.index, out))

    return nest({row.path: axes(row) for row in rows})


def _norm(name: str, path: str) -> list[Row]:
    return [Row(f"{name}.weight", ("layers", path), "residual -> residual", start="ones")]


def _linear(name: str, path: str, out: str, into: str, bias: bool) -> list[Row]:
    """Returns the rows of a linear layer: the file keeps [out, in], we keep the input axes first."""
    ours = f"{into.strip('()')} {out.strip('()')}"
    rows = [Row(f"{_LAYER}.{name}.weight", ("layers", path, "kernel"), f"{out} {into} -> {ours}")]
    if bias:
        # The bias of an output projection lies on the residual stream, which is not split.
        axes = "residual" if out == "embed" else out
        rows.append(Row(f"{_LAYER}.{name}.bias", ("layers", path, "bias"), f"{axes} -> {axes.strip('()')}", "zeros"))
    return rows
