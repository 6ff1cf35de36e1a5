"""The fields of a `ModelConfig` that families share: what every one of them spells alike, and windows and experts."""

from collections.abc import Sequence
from typing import Any

from easydel.errors import ConfigError, unsupported
from easydel.models.hf_config import Source, given_rope, number, per_layer, positive, rope, token_ids
from easydel.models.kinds import Experts, Layer, Rope

Fields = dict[str, Any]  # of `ModelConfig`
_LAYER_TYPES = ("full_attention", "sliding_attention")


def common(source: Source, *, partial: bool = False, aliases: dict[str, str] | None = None) -> Fields:
    """Returns the fields that every family spells the same way; all layers are alike. See `hf_config.rope`.

    Raises:
        ConfigError: a required key is missing, or a value is invalid.
    """
    needed = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    missing = [name for name in needed if source.get(name) is None]
    if missing:
        raise ConfigError(f"the configuration of a {source['model_type']} model lacks {', '.join(missing)}.")
    sizes = {name: number(source, name, int, 0) for name in needed}
    heads, hidden = sizes["num_attention_heads"], sizes["hidden_size"]
    if source.get("head_dim") is None and (heads < 1 or hidden % heads):
        raise ConfigError(
            f"hidden_size ({hidden}) must be divisible by num_attention_heads ({heads}) when head_dim is not given."
        )
    head_dim = positive(source, "head_dim", int, hidden // max(heads, 1))
    if head_dim < 1 or head_dim % 2:
        raise ConfigError(f"head_dim ({head_dim}) must be even: rotary angles turn pairs of channels.")
    flat = {name: value for name, value in given_rope(source).items() if name not in _LAYER_TYPES}
    layer = Layer(rope(source, flat, head_dim, partial=partial, aliases=aliases))
    return {
        **sizes,
        "num_key_value_heads": number(source, "num_key_value_heads", int, heads),
        "head_dim": head_dim,
        "max_position_embeddings": number(source, "max_position_embeddings", int, 2048),
        "layers": (layer,) * sizes["num_hidden_layers"],
        "attention_scale": head_dim**-0.5,
        "hidden_act": source.get("hidden_act", "silu"),
        "rms_norm_eps": number(source, "rms_norm_eps", float, 1e-6),
        "tie_word_embeddings": bool(source.get("tie_word_embeddings", False)),
        "attention_dropout": number(source, "attention_dropout", float, 0.0),
        "initializer_range": number(source, "initializer_range", float, 0.02),
        "bos_token_id": source.get("bos_token_id"),
        "eos_token_id": token_ids(source.get("eos_token_id")),
        "pad_token_id": source.get("pad_token_id"),
    }


def indices(fields: Fields) -> range:
    """Returns the numbers of the layers."""
    return range(len(fields["layers"]))


def every(period: int, fields: Fields) -> list[str]:
    """Returns the types of layers of which every `period`-th sees all, and the others have the window."""
    return ["sliding_attention" if (i + 1) % period else "full_attention" for i in indices(fields)]


def with_window(fields: Fields, window: int | None) -> Fields:
    """Returns the fields with one window in all layers."""
    return fields | {"layers": tuple(layer._replace(window=window) for layer in fields["layers"])}


def with_experts(fields: Fields, experts: Experts, sparse: Sequence[bool]) -> Fields:
    """Returns the fields with experts in the layers that are sparse.

    Raises:
        ConfigError: a token cannot go to as many experts as it should.
    """
    if not 1 <= experts.per_token <= experts.number:
        raise ConfigError(
            f"num_experts_per_tok ({experts.per_token}) must be 1 to the number of experts, {experts.number}."
        )
    if not any(sparse):
        return fields
    layers = (layer._replace(sparse=each) for layer, each in zip(fields["layers"], sparse, strict=True))
    return fields | {"experts": experts, "layers": tuple(layers)}


def with_types(
    fields: Fields, source: Source, otherwise: Sequence[str], ropes: dict[str, Rope] | None = None
) -> Fields:
    """Returns the fields with the window, and the rope, of each layer's type.

    `use_sliding_window` false, where there is such a key, turns windows off; `otherwise` holds the types where
    `layer_types` is not given.

    Raises:
        ConfigError: types that we do not know or not one for each layer, or windows while `sliding_window` is off.
    """
    window = source.get("sliding_window") if source.get("use_sliding_window", True) else None
    if not window:
        otherwise = ["full_attention"] * len(otherwise)
    types = per_layer(source, "layer_types", len(otherwise), otherwise)
    for kind in types:
        if kind not in _LAYER_TYPES:
            raise unsupported("layer_types: the type", kind, _LAYER_TYPES)
    if window is None and "sliding_attention" in types:
        raise ConfigError("layer_types asks for sliding_attention, but sliding_window, or use_sliding_window, is off.")
    layers = []
    for layer, kind in zip(fields["layers"], types, strict=True):
        turned = layer if ropes is None else layer._replace(rope=ropes[kind])
        layers.append(turned._replace(window=window if kind == "sliding_attention" else None))
    return fields | {"layers": tuple(layers)}


def by_type(source: Source, head_dim: int, *, theta: dict[str, float]) -> dict[str, Rope]:
    """Returns the rope of each type of layers.

    transformers 5 writes one dictionary per type; 4 wrote `rope_theta` and `rope_scaling` of those that see all. Where
    both are there, `rope_scaling` adds to what the other says of these.
    """
    given, scaling = dict(source.get("rope_parameters") or {}), source.get("rope_scaling")
    if "full_attention" in given and scaling:
        given["full_attention"] = {**(given["full_attention"] or {}), **scaling}
    elif scaling:
        given = dict(scaling)
    if "full_attention" not in given and "sliding_attention" not in given:
        given = {"full_attention": {"rope_theta": source.get("rope_theta")} | given}
    bare = {name: value for name, value in source.items() if name != "rope_theta"}
    return {kind: rope(bare, given.get(kind) or {}, head_dim, theta=theta[kind]) for kind in theta}
