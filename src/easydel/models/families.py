"""The families: for each `model_type`, the function that turns a `config.json` into the fields of a `ModelConfig`.

A family says in its function where it differs from Llama: what its classes in `transformers` take when a key is absent,
and what its code does that no key tells.
"""

from collections.abc import Callable, Sequence
from typing import Any

from easydel.errors import ConfigError
from easydel.models.kinds import Experts, Layer, Rope
from easydel.models.source import Source, cap, flags, given_rope, layer_types, number, only, positive, rope, token_ids

Fields = dict[str, Any]  # of `ModelConfig`


def llama(source: Source) -> Fields:
    """Llama 1 to 3, SmolLM 1 and 2, and the many that share their form."""
    bias = bool(source.get("attention_bias", False))
    mlp_bias = bool(source.get("mlp_bias", False))
    return common(source) | {"qkv_bias": bias, "output_bias": bias, "mlp_bias": mlp_bias}


def mistral(source: Source) -> Fields:
    """Mistral: every layer has the window; `sliding_window` null is none, and absent it is 4096."""
    return with_window(common(source), source.get("sliding_window", 4096))


def qwen2(source: Source) -> Fields:
    """Qwen 2 and 2.5: biases on query, key and value; windows from layer `max_window_layers` on, if at all."""
    source = {"use_sliding_window": False, "sliding_window": 4096} | dict(source)
    fields = common(source) | {"qkv_bias": True}
    first = number(source, "max_window_layers", int, 28)
    return with_types(fields, source, ["full_attention" if i < first else "sliding_attention" for i in indices(fields)])


def qwen3(source: Source) -> Fields:
    """Qwen 3: as Qwen 2, with norms of each head's query and key instead of biases."""
    bias = bool(source.get("attention_bias", False))
    return qwen2(source) | {"qk_norm": "head", "qkv_bias": bias, "output_bias": bias}


def gemma(source: Source) -> Fields:
    """Gemma 1: norms of 1 + w, embeddings times the root of their size, and always the approximate GELU."""
    only(source, "use_bidirectional_attention", False, "attention to later tokens")
    source = {"tie_word_embeddings": True} | dict(source)
    bias = bool(source.get("attention_bias", False))
    act = source.get("hidden_activation") or source.get("hidden_act") or "gelu_pytorch_tanh"
    fields = common(source) | {"qkv_bias": bias, "output_bias": bias, "norm_offset": 1.0}
    fields["hidden_act"] = "gelu_pytorch_tanh" if act == "gelu" else act
    fields["embedding_scale"] = fields["hidden_size"] ** 0.5
    return fields


def gemma2(source: Source) -> Fields:
    """Gemma 2: Gemma with norms before and behind, soft caps, and a window in every other layer."""
    fields = gemma(source) | {
        "hidden_act": source.get("hidden_activation") or "gelu_pytorch_tanh",
        "post_norm": True,
        "attention_scale": positive(source, "query_pre_attn_scalar", float, 256.0) ** -0.5,
        "score_cap": cap({"attn_logit_softcapping": 50.0} | dict(source), "attn_logit_softcapping"),
        "logit_cap": cap({"final_logit_softcapping": 30.0} | dict(source), "final_logit_softcapping"),
    }
    return with_types(fields, {"sliding_window": 4096} | dict(source), every(2, fields))


def gemma3(source: Source) -> Fields:
    """Gemma 3, text: Gemma 2 with norms of query and key for caps; a window, and a rope of its own, in five of six."""
    source = {"final_logit_softcapping": None, "sliding_window": 4096} | dict(source)
    # `transformers` reads attn_logit_softcapping and does nothing with it.
    fields = gemma2(source) | {"qk_norm": "head", "score_cap": None}
    pattern = positive(source, "sliding_window_pattern", int, positive(source, "_sliding_window_pattern", int, 6))
    ropes = by_type(
        source,
        fields["head_dim"],
        theta={"full_attention": 1e6, "sliding_attention": number(source, "rope_local_base_freq", float, 1e4)},
    )
    return with_types(fields, source, every(pattern, fields), ropes)


def phi3(source: Source) -> Fields:
    """Phi 3, 3.5 and 4: projections fused in the file, `longrope`, and a part of the channels may be turned."""
    for name in ("resid_pdrop", "embd_pdrop"):
        only(source, name, 0.0, "dropout of the residual stream")
    source = {"original_max_position_embeddings": 4096} | dict(source)
    fields = common(source, partial=True, aliases={"su": "longrope", "yarn": "longrope"})
    return with_window(fields | {"fused_projections": True}, source.get("sliding_window"))


def smollm3(source: Source) -> Fields:
    """SmolLM 3: Llama in which some layers, every fourth, know no positions; those may have a window."""
    source = {"tie_word_embeddings": True, "use_sliding_window": False, "rope_theta": 2e6} | dict(source)
    fields = llama(source)
    interval = positive(source, "no_rope_layer_interval", int, 4)
    turned = flags(source, "no_rope_layers", len(fields["layers"]), [(i + 1) % interval != 0 for i in indices(fields)])
    fields = with_types(fields, source, ["full_attention" if each else "sliding_attention" for each in turned])
    layers = [
        layer if each else layer._replace(rope=None) for layer, each in zip(fields["layers"], turned, strict=True)
    ]
    return fields | {"layers": tuple(layers)}


def olmo2(source: Source) -> Fields:
    """OLMo 2: norms behind attention and MLP and none before, and norms over the queries and keys of all heads."""
    bias = bool(source.get("attention_bias", False))
    norms = {"pre_norm": False, "post_norm": True, "qk_norm": "all"}
    return common({"rms_norm_eps": 1e-5} | dict(source)) | norms | {"qkv_bias": bias, "output_bias": bias}


def olmo3(source: Source) -> Fields:
    """OLMo 3: OLMo 2 with a window in three of four layers; those that have it know no rotary scaling."""
    source = {"sliding_window": 4096} | dict(source)
    fields = olmo2(source)
    ropes = by_type(source, fields["head_dim"], theta={"full_attention": 5e5, "sliding_attention": 5e5})
    return with_types(fields, source, every(4, fields), ropes)


def granite(source: Source) -> Fields:
    """Granite 3: Llama with a factor of its own on embeddings, scores, residuals and logits."""
    return llama(source) | {
        "embedding_scale": number(source, "embedding_multiplier", float, 1.0),
        "attention_scale": number(source, "attention_multiplier", float, 1.0),
        "residual_scale": number(source, "residual_multiplier", float, 1.0),
        "logits_scaling": positive(source, "logits_scaling", float, 1.0),
    }


def mixtral(source: Source) -> Fields:
    """Mixtral: Mistral with experts in every layer, and no window unless there is one."""
    only(source, "router_jitter_noise", 0.0, "noise on the input of the router")
    fields = mistral({"sliding_window": None, "rope_theta": 1e6, "rms_norm_eps": 1e-5} | dict(source))
    experts = Experts(
        number=number(source, "num_local_experts", int, 8),
        per_token=number(source, "num_experts_per_tok", int, 2),
        size=fields["intermediate_size"],
        normalise=True,
        aux_coefficient=number(source, "router_aux_loss_coef", float, 0.001),
        module="block_sparse_moe",
        projections=("w1", "w3", "w2"),
    )
    return with_experts(fields, experts, [True] * len(fields["layers"]))


def qwen3_moe(source: Source) -> Fields:
    """Qwen 3 with experts, in every `decoder_sparse_step`-th layer but those of `mlp_only_layers`."""
    fields = with_window(qwen3(source), source.get("sliding_window") if source.get("use_sliding_window") else None)
    # transformers 5 writes num_local_experts, 4 wrote num_experts.
    experts = Experts(
        number=number(source, "num_experts", int, number(source, "num_local_experts", int, 128)),
        per_token=number(source, "num_experts_per_tok", int, 8),
        size=number(source, "moe_intermediate_size", int, 768),
        normalise=bool(source.get("norm_topk_prob", False)),
        aux_coefficient=number(source, "router_aux_loss_coef", float, 0.001),
    )
    step, dense = number(source, "decoder_sparse_step", int, 1), source.get("mlp_only_layers") or ()
    return with_experts(fields, experts, [i not in dense and (i + 1) % step == 0 for i in indices(fields)])


# model_type -> (the class that `transformers` has for it, the function that reads its configuration).
FAMILIES: dict[str, tuple[str, Callable[[Source], Fields]]] = {
    "llama": ("LlamaForCausalLM", llama),
    "mistral": ("MistralForCausalLM", mistral),
    "qwen2": ("Qwen2ForCausalLM", qwen2),
    "qwen3": ("Qwen3ForCausalLM", qwen3),
    "gemma": ("GemmaForCausalLM", gemma),
    "gemma2": ("Gemma2ForCausalLM", gemma2),
    "gemma3_text": ("Gemma3ForCausalLM", gemma3),
    "phi3": ("Phi3ForCausalLM", phi3),
    "smollm3": ("SmolLM3ForCausalLM", smollm3),
    "olmo2": ("Olmo2ForCausalLM", olmo2),
    "olmo3": ("Olmo3ForCausalLM", olmo3),
    "granite": ("GraniteForCausalLM", granite),
    "mixtral": ("MixtralForCausalLM", mixtral),
    "qwen3_moe": ("Qwen3MoeForCausalLM", qwen3_moe),
}


def common(source: Source, *, partial: bool = False, aliases: dict[str, str] | None = None) -> Fields:
    """Returns the fields that every family spells the same way; all layers are alike. See `source.rope`.

    Raises:
        ConfigError: a key without which there is no model is missing, or a value is not what it must be.
    """
    needed = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    missing = [name for name in needed if source.get(name) is None]
    if missing:
        raise ConfigError(f"the configuration of a {source['model_type']} model lacks {', '.join(missing)}.")
    whole = {name: number(source, name, int, 0) for name in needed}
    heads, hidden = whole["num_attention_heads"], whole["hidden_size"]
    if source.get("head_dim") is None and (heads < 1 or hidden % heads):
        raise ConfigError(
            f"hidden_size ({hidden}) must be divisible by num_attention_heads ({heads}) when head_dim is not given."
        )
    head_dim = positive(source, "head_dim", int, hidden // max(heads, 1))
    if head_dim < 1 or head_dim % 2:
        raise ConfigError(f"head_dim ({head_dim}) must be even: rotary angles turn pairs of channels.")
    flat = {
        name: value for name, value in given_rope(source).items() if name not in ("full_attention", "sliding_attention")
    }
    layer = Layer(rope(source, flat, head_dim, partial=partial, aliases=aliases))
    return {
        **whole,
        "num_key_value_heads": number(source, "num_key_value_heads", int, heads),
        "head_dim": head_dim,
        "max_position_embeddings": number(source, "max_position_embeddings", int, 2048),
        "layers": (layer,) * whole["num_hidden_layers"],
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
        ConfigError: layers are to have a window and `sliding_window` says none.
    """
    window = source.get("sliding_window") if source.get("use_sliding_window", True) else None
    types = layer_types(source, len(fields["layers"]), otherwise if window else ["full_attention"] * len(otherwise))
    if window is None and "sliding_attention" in types:
        raise ConfigError("layer_types asks for sliding_attention, but sliding_window, or use_sliding_window, is off.")
    layers = []
    for layer, kind in zip(fields["layers"], types, strict=True):
        turned = layer if ropes is None else layer._replace(rope=ropes[kind])
        layers.append(turned._replace(window=window if kind == "sliding_attention" else None))
    return fields | {"layers": tuple(layers)}


def by_type(source: Source, head_dim: int, *, theta: dict[str, float]) -> dict[str, Rope]:
    """Returns the rope of each type of layers.

    transformers 5 writes one dictionary per type; 4 wrote `rope_theta` and `rope_scaling` of those that see all.
    """
    given = given_rope(source)
    if "full_attention" not in given and "sliding_attention" not in given:
        given = {"full_attention": {"rope_theta": source.get("rope_theta")} | given}
    bare = {name: value for name, value in source.items() if name != "rope_theta"}
    return {kind: rope(bare, given.get(kind) or {}, head_dim, theta=theta[kind]) for kind in theta}
