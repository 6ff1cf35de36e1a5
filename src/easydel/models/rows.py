"""What the parameters of a decoder are: one table to load, export, shard and initialize them by."""

import re
from collections.abc import Sequence
from functools import partial
from typing import Any

from easydel.models.config import ModelConfig
from easydel.models.kinds import NORMS, Experts
from easydel.models.mixer_rows import mixer_rows, mixer_sizes
from easydel.models.row_forms import LAYER, fused, linear, matrix
from easydel.weights.table import Row, nest

# Of the norms before and behind attention, before and behind the MLP. Where there is one behind attention too, that one
# has the name of Llama's norm before the MLP.
_NORM_NAMES = {
    False: ("input_layernorm", "", "post_attention_layernorm", ""),
    True: (
        *("input_layernorm", "post_attention_layernorm"),
        *("pre_feedforward_layernorm", "post_feedforward_layernorm"),
    ),
}


def axis_sizes(config: ModelConfig) -> dict[str, int]:
    """Returns the size of every logical axis; `residual` is `embed` where an array is too small to split."""
    of_experts = {} if config.experts is None else _of_experts(config.experts)
    return {
        "layers": config.num_hidden_layers,
        "vocab": config.vocab_size,
        "embed": config.hidden_size,
        "residual": config.hidden_size,
        "heads": config.num_attention_heads,
        "kv_heads": config.num_key_value_heads,
        "head_dim": config.head_dim,
        "halves": 2,  # a query, and its gate
        "mlp": config.intermediate_size,
        **of_experts,
        **mixer_sizes(config),
    }


def _of_experts(experts: Experts) -> dict[str, int]:
    shared = {"shared": experts.shared, "one": 1} if experts.shared else {}
    return {"experts": experts.number, "expert_mlp": experts.size, **shared}


def weight_rows(config: ModelConfig) -> list[Row]:
    """Returns the weight table of one configuration."""
    names = config.norm_names or _NORM_NAMES[config.post_norm]
    rows = [
        Row("model.embed_tokens.weight", ("embedding",), "vocab embed -> vocab embed"),
        *_norms(config, "attention", names[0], names[1]),
        *_attention(config),
        *mixer_rows(config),
        *([] if config.parallel else _norms(config, "mlp", names[2], names[3])),
        *_mlp(config),
        *_experts(config),
        Row("model.norm.weight", ("norm",), "residual -> residual", _norm_start(config)),
    ]
    if not config.tie_word_embeddings:
        rows.append(Row("lm_head.weight", ("head",), "vocab embed -> vocab embed"))
    return [row._replace(name=_in_module(config, _named(row.name, config))) for row in rows]


def _named(name: str, config: ModelConfig) -> str:
    """Returns what the files call a tensor that has this name in Llama's."""
    for ours, theirs in config.names:
        name = name.replace(f".{ours}.", f".{theirs}.")
    return name


def tied_head(config: ModelConfig) -> dict[str, str]:
    """Returns {name that a file may hold the embedding by a second time: its own}, where it is the head too."""
    return {"lm_head.weight": _in_module(config, "model.embed_tokens.weight")} if config.tie_word_embeddings else {}


def _in_module(config: ModelConfig, name: str) -> str:
    return re.sub(r"^model\.", f"{config.module_prefix}.", name)


def tensors(rows: Sequence[Row]) -> dict[str, Any]:
    """Returns, shaped like the parameters, how the tensors of the file lie in each of them."""
    return nest({row.path: row.tensor for row in rows})


def _norms(config: ModelConfig, part: str, before: str, behind: str) -> list[Row]:
    """Returns the rows of the norms on the residual stream: before a part of the layer, and behind it."""
    names = {f"{part}_norm": before} if config.pre_norm else {}
    names |= {f"{part}_post_norm": behind} if config.post_norm else {}
    rows = []
    for path, name in names.items():
        having = tuple(at for at, layer in enumerate(config.layers) if layer.norms in ("all", NORMS[path]))
        pattern = "residual -> residual"
        rows.append(Row(f"{LAYER}.{name}.weight", ("layers", path), pattern, _norm_start(config), having))
    return [row for row in rows if row.layers]


def _head_norms(config: ModelConfig) -> list[Row]:
    """Returns the rows of the norms of query and key."""
    rows = []
    for path, name, heads in (("query_norm", "q_norm", "heads"), ("key_norm", "k_norm", "kv_heads")):
        pattern = {"head": "head_dim -> head_dim", "all": f"({heads} head_dim) -> {heads} head_dim"}
        if config.qk_norm:
            full_name = f"{LAYER}.self_attn.{name}.weight"
            rows.append(Row(full_name, ("layers", path), pattern[config.qk_norm], _norm_start(config)))
    return rows


def _norm_start(config: ModelConfig) -> str:
    return "zeros" if config.norm_offset else "ones"


def _attention(config: ModelConfig) -> list[Row]:
    attending = tuple(at for at, layer in enumerate(config.layers) if layer.mixer == "attention")
    heads, kv_heads = "(heads head_dim)", "(kv_heads head_dim)"
    output = linear("self_attn.o_proj", "output", "embed", heads, bias=config.output_bias)
    if config.fused_projections:
        inputs = fused("self_attn.qkv_proj", {"query": heads, "key": kv_heads, "value": kv_heads}, "embed")
    else:
        project = partial(linear, into="embed", bias=config.qkv_bias)
        inputs = [
            *project("self_attn.q_proj", "query", "(heads halves head_dim)" if config.gated_attention else heads),
            *project("self_attn.k_proj", "key", kv_heads),
            *project("self_attn.v_proj", "value", kv_heads),
        ]
    rows = [*inputs, *output, *_head_norms(config)]
    return [row._replace(layers=attending) for row in rows] if attending else []


def _mlp(config: ModelConfig) -> list[Row]:
    dense = tuple(at for at, layer in enumerate(config.layers) if not layer.sparse)
    project = partial(linear, bias=config.mlp_bias)
    down = project("mlp.down_proj", "down", "embed", "mlp")
    if config.fused_mlp:
        rows = [*fused("mlp.gate_up_proj", {"gate": "mlp", "up": "mlp"}, "embed"), *down]
    else:
        rows = [*project("mlp.gate_proj", "gate", "mlp", "embed"), *project("mlp.up_proj", "up", "mlp", "embed"), *down]
    return [row._replace(layers=dense) for row in rows] if dense else []


def _experts(config: ModelConfig) -> list[Row]:
    if config.experts is None:
        return []
    sparse = tuple(at for at, layer in enumerate(config.layers) if layer.sparse)
    module = config.experts.module
    rows = linear(f"{module}.gate", "router", "experts", "embed", bias=False)
    sides = (("expert_mlp", "embed"), ("expert_mlp", "embed"), ("embed", "expert_mlp"))
    for path, name, (out, into) in zip(("gate", "up", "down"), config.experts.projections, sides, strict=True):
        full_name = f"{LAYER}.{module}.experts.{{expert}}.{name}.weight"
        rows.append(Row(full_name, ("layers", "experts", path, "kernel"), matrix(out, into)))
    if config.experts.sigmoid:
        name = f"{LAYER}.{module}.gate.e_score_correction_bias"
        rows.append(Row(name, ("layers", "router", "correction"), "experts -> experts", "zeros", dtype="float32"))
    if config.experts.shared:
        shared = f"{module}.{config.experts.shared_module}"
        for path, (out, into) in {
            "gate": ("shared", "embed"),
            "up": ("shared", "embed"),
            "down": ("embed", "shared"),
        }.items():
            rows += linear(f"{shared}.{path}_proj", f"shared_{path}", out, into, bias=False)
    if config.experts.shared_gate:
        rows += linear(f"{module}.{config.experts.shared_module}_gate", "shared_router", "one", "embed", bias=False)
    return [row._replace(layers=sparse) for row in rows]
