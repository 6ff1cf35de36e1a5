"""More families whose layers all have one dense MLP: those that turn, norm or scale otherwise than Llama does."""

from easydel.errors import ConfigError
from easydel.models.dense_families import llama, mistral, olmo2
from easydel.models.family_fields import Fields, common, every, indices, with_types
from easydel.models.hf_config import Source, given_rope, number, positive

# What the class of Ministral 3 takes where there are no rotary settings.
_MINISTRAL_ROPE = {
    **{"type": "yarn", "rope_theta": 1e6, "factor": 16.0, "original_max_position_embeddings": 16_384},
    **{"mscale": 1.0, "mscale_all_dim": 1.0, "llama_4_scaling_beta": 0.1},
}


def cohere2(source: Source) -> Fields:
    """Command R7B and A: LayerNorm, attention and MLP side by side; no positions in layers without the window."""
    bias = bool(source.get("attention_bias", False))
    fields = common(source) | {
        **{"qkv_bias": bias, "output_bias": bias, "norm": "layer", "parallel": True, "neighbors": True},
        "rms_norm_eps": number(source, "layer_norm_eps", float, 1e-5),
        "logits_scaling": 1 / positive(source, "logit_scale", float, 0.0625),
    }
    return _turned_in_windows(fields, source, every(positive(source, "sliding_window_pattern", int, 4), fields))


def seed_oss(source: Source) -> Fields:
    """Seed-OSS: Llama with biases on query, key and value, and on the output by a key of its own."""
    return llama(source) | {
        "output_bias": bool(source.get("attention_out_bias", False)),
        "residual_dropout": number(source, "residual_dropout", float, 0.1),
    }


def exaone4(source: Source) -> Fields:
    """EXAONE 4: norms behind, norms of query and key; with a window, no positions in the layers that see all."""
    fields = olmo2(source) | {"qk_norm": "head"}
    pattern = source.get("sliding_window_pattern")
    if isinstance(pattern, str):  # a letter for each layer of a turn: L has the window, G sees all
        if not pattern or not {*pattern} <= {"L", "G"}:
            raise ConfigError(f"sliding_window_pattern is {pattern!r}; it must be a number, or letters L and G.")
        local = [pattern[i % len(pattern)] == "L" for i in indices(fields)]
        kinds = ["sliding_attention" if each else "full_attention" for each in local]
    else:
        kinds = every(positive(source, "sliding_window_pattern", int, 4), fields)
    if source.get("sliding_window") is None:
        return with_types(fields, source, kinds)
    return _turned_in_windows(fields, source, kinds)


def ernie4_5(source: Source) -> Fields:
    """ERNIE 4.5, dense: Llama that turns neighboring channels, with one key for all biases."""
    bias = bool(source.get("use_bias", False))
    return common(source) | {"qkv_bias": bias, "output_bias": bias, "mlp_bias": bias, "neighbors": True}


def glm4(source: Source) -> Fields:
    """GLM 4 (0414): norms on both sides, half of the channels turned, neighbors in pairs; gate and up are fused."""
    return common(source, partial=True) | {
        **{"qkv_bias": bool(source.get("attention_bias", False)), "post_norm": True, "fused_mlp": True},
        "neighbors": True,
        "norm_names": (
            *("input_layernorm", "post_self_attn_layernorm"),
            *("post_attention_layernorm", "post_mlp_layernorm"),
        ),
    }


def ministral3(source: Source) -> Fields:
    """Ministral 3: Mistral with yarn, whose queries grow with the position."""
    given = given_rope(source) or _MINISTRAL_ROPE
    rope = {
        name: value for name, value in given.items() if name not in ("llama_4_scaling_beta", "max_position_embeddings")
    }
    fields = mistral({**source, "rope_scaling": None, "rope_parameters": rope})
    beta = number(given, "llama_4_scaling_beta", float, 0.0)
    layers = (layer._replace(rope=layer.rope._replace(temperature=beta)) for layer in fields["layers"])
    return fields | {"layers": tuple(layers)}


def _turned_in_windows(fields: Fields, source: Source, otherwise: list[str]) -> Fields:
    """Returns the fields with the window and the rope in layers of one type, and neither in those of the other."""
    fields = with_types(fields, source, otherwise)
    layers = (layer if layer.window is not None else layer._replace(rope=None) for layer in fields["layers"])
    return fields | {"layers": tuple(layers)}
