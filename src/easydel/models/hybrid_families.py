"""The families in which not every layer has attention: what each `config.json` says of the other layers."""

from easydel.errors import unsupported
from easydel.models.family_fields import Fields, common
from easydel.models.hf_config import Source, number, per_layer, positive
from easydel.models.kinds import ShortConv

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
