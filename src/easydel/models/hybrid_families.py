"""The families in which not every layer has attention: what each `config.json` says of the other layers."""

from easydel.errors import ConfigError, unsupported
from easydel.models.family_fields import Fields, common, indices
from easydel.models.hf_config import Source, given_rope, number, per_layer, positive
from easydel.models.kinds import DeltaNet, ShortConv

_LFM2_NAMES = (
    ("input_layernorm", "operator_norm"),
    ("post_attention_layernorm", "ffn_norm"),
    ("mlp.gate_proj", "feed_forward.w1"),
    ("mlp.up_proj", "feed_forward.w3"),
    ("mlp.down_proj", "feed_forward.w2"),
    ("self_attn.o_proj", "self_attn.out_proj"),
    ("self_attn.q_norm", "self_attn.q_layernorm"),
    ("self_attn.k_norm", "self_attn.k_layernorm"),
    ("norm", "embedding_norm"),
)
_OLMO_NAMES = (
    ("input_layernorm", "attention_layer_norm"),
    ("post_attention_layernorm", "feedforward_layer_norm"),
    ("pre_feedforward_layernorm", "feedforward_layer_norm"),
)


def lfm2(source: Source) -> Fields:
    """LFM2: short convolutions in most layers, attention with norms of query and key in the others."""
    fields = common({**source, "rms_norm_eps": source.get("norm_eps", 1e-5), "hidden_act": "silu"})
    count = fields["num_hidden_layers"]
    attending = source.get("full_attn_idxs")
    attending = range(count) if attending is None else attending
    otherwise = ["full_attention" if at in attending else "conv" for at in range(count)]
    return _with_mixers(fields, source, {"conv": "conv"}, otherwise) | {
        "qk_norm": "head",
        "intermediate_size": _lfm2_width(source),
        "tie_word_embeddings": bool(source.get("tie_embedding", source.get("tie_word_embeddings"))),
        "conv": ShortConv(positive(source, "conv_L_cache", int, 3), bool(source.get("conv_bias", False))),
        "names": _LFM2_NAMES,
    }


def qwen3_5(source: Source) -> Fields:
    """Qwen 3.5, text: the gated delta rule in three of four layers, gated attention in the fourth, norms of 1 + w."""
    rotary = given_rope(source)
    share = rotary.get("partial_rotary_factor", source.get("partial_rotary_factor"))
    fields = common({**source, "partial_rotary_factor": 0.25 if share is None else share}, partial=True)
    interval = positive(source, "full_attention_interval", int, 4)
    otherwise = ["linear_attention" if (at + 1) % interval else "full_attention" for at in indices(fields)]
    bias = bool(source.get("attention_bias", False))
    return _with_mixers(fields, source, {"linear_attention": "delta"}, otherwise) | {
        **{"qk_norm": "head", "qkv_bias": bias, "output_bias": bias, "norm_offset": 1.0, "gated_attention": True},
        "delta": _delta(source, "fused", fields["rms_norm_eps"]),
    }


def olmo_hybrid(source: Source) -> Fields:
    """OLMo Hybrid: the delta rule with rates up to 2 in three of four layers, OLMo 2's attention in the fourth."""
    rotary = source.get("rope_parameters") or {}
    unturned = "rope_theta" in {**source, **rotary} and {**source, **rotary}["rope_theta"] is None
    bare = {name: value for name, value in source.items() if name not in ("rope_parameters", "rope_theta")}
    fields = common(bare if unturned else source)
    count = len(fields["layers"])
    otherwise = ["full_attention" if at % 4 == 3 else "linear_attention" for at in range(count)]
    if "full_attention" not in otherwise:
        otherwise[-1] = "full_attention"
    fields = _with_mixers(fields, source, {"linear_attention": "delta"}, otherwise)
    layers = [layer._replace(rope=None) if unturned else layer for layer in fields["layers"]]
    sides = {"attention": "behind", "delta": "before"}
    bias = bool(source.get("attention_bias", False))
    heads = fields["num_attention_heads"]
    key_heads = positive(source, "linear_num_key_heads", int, heads)
    key_dim = positive(source, "linear_key_head_dim", int, int(0.75 * fields["hidden_size"] / key_heads))
    sizes = {"key_heads": key_heads, "value_heads": heads, "key_dim": key_dim, "value_dim": 2 * key_dim}
    delta = _delta(source, "apart", 1e-5, **sizes)
    return fields | {
        **{"pre_norm": True, "post_norm": True, "qk_norm": "all", "qkv_bias": bias, "output_bias": bias},
        "layers": tuple(layer._replace(norms=sides[layer.mixer]) for layer in layers),
        "delta": delta._replace(rate_scale=2.0 if source.get("linear_allow_neg_eigval", True) else 1.0),
        "names": _OLMO_NAMES,
    }


def _delta(source: Source, form: str, norm_eps: float, **otherwise: int) -> DeltaNet:
    """Returns the sizes of the layers with the delta rule; `otherwise` is what they are where they are not given.

    Raises:
        ConfigError: heads of values that do not divide over those of keys.
    """
    given = {"key_heads": 16, "value_heads": 32, "key_dim": 128, "value_dim": 128} | otherwise
    names = {"key_heads": "linear_num_key_heads", "value_heads": "linear_num_value_heads"}
    names |= {"key_dim": "linear_key_head_dim", "value_dim": "linear_value_head_dim"}
    sizes = {path: positive(source, name, int, given[path]) for path, name in names.items()}
    if sizes["value_heads"] % sizes["key_heads"]:
        raise ConfigError(
            f"linear_num_value_heads ({sizes['value_heads']}) must be divisible by linear_num_key_heads "
            f"({sizes['key_heads']})."
        )
    taps = positive(source, "linear_conv_kernel_dim", int, 4)
    return DeltaNet(**sizes, taps=taps, form=form, rate_scale=1.0, norm_eps=norm_eps)


def _lfm2_width(source: Source) -> int:
    """Returns the width of the MLP: two thirds of what is written, times a factor, rounded up."""
    width = number(source, "block_ff_dim", int, number(source, "intermediate_size", int, 0))
    if not source.get("block_auto_adjust_ff_dim", True):
        return width
    width = int(2 * width / 3)
    if source.get("block_ffn_dim_multiplier", 1.0) is None:
        return width
    multiple = positive(source, "block_multiple_of", int, 256)
    width = int(number(source, "block_ffn_dim_multiplier", float, 1.0) * width)
    return -(-width // multiple) * multiple


def _with_mixers(fields: Fields, source: Source, mixers: dict[str, str], otherwise: list[str]) -> Fields:
    """Returns the fields with the mixer of each layer's type; those of other mixers than attention have no rope.

    Args:
        mixers: those that types of layers stand for, beside `full_attention`.
        otherwise: the types where `layer_types` is not given.

    Raises:
        ConfigError: types that we do not know, or not one for each layer.
    """
    types = per_layer(source, "layer_types", len(otherwise), otherwise)
    layers = []
    for layer, kind in zip(fields["layers"], types, strict=True):
        if kind not in ("full_attention", *mixers):
            raise unsupported("layer_types: the type", kind, ("full_attention", *mixers))
        layers.append(layer if kind == "full_attention" else layer._replace(rope=None, mixer=mixers[kind]))
    return fields | {"layers": tuple(layers)}
