"""The families whose layers all have one dense MLP: what each `config.json` says, where it differs from Llama."""

from easydel.models.family_fields import Fields, by_type, common, every, indices, with_types, with_window
from easydel.models.hf_config import Source, cap, number, only, per_layer, positive


def llama(source: Source) -> Fields:
    """Llama 1 to 3, SmolLM 1 and 2, and the many that share their form."""
    bias = bool(source.get("attention_bias", False))
    mlp_bias = bool(source.get("mlp_bias", False))
    return common(source) | {"qkv_bias": bias, "output_bias": bias, "mlp_bias": mlp_bias}


def mistral(source: Source) -> Fields:
    """Mistral: every layer has the window; `sliding_window` null turns it off."""
    return with_window(common(source), source.get("sliding_window"))


def qwen2(source: Source) -> Fields:
    """Qwen 2 and 2.5: biases on query, key and value; windows from layer `max_window_layers` on, if at all."""
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
        "score_cap": cap(source, "attn_logit_softcapping"),
        "logit_cap": cap(source, "final_logit_softcapping"),
    }
    return with_types(fields, source, every(2, fields))


def gemma3(source: Source) -> Fields:
    """Gemma 3, text: Gemma 2 with norms of query and key for caps; a window, and a rope of its own, in five of six."""
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
    fields = common(source, partial=True, aliases={"su": "longrope", "yarn": "longrope"})
    return with_window(fields | {"fused_projections": True, "fused_mlp": True}, source.get("sliding_window"))


def smollm3(source: Source) -> Fields:
    """SmolLM 3: Llama in which some layers, every fourth, know no positions; those may have a window."""
    fields = llama(source)
    interval = positive(source, "no_rope_layer_interval", int, 4)
    turned = per_layer(
        source, "no_rope_layers", len(fields["layers"]), [(i + 1) % interval != 0 for i in indices(fields)]
    )
    fields = with_types(fields, source, ["full_attention" if each else "sliding_attention" for each in turned])
    layers = [
        layer if each else layer._replace(rope=None) for layer, each in zip(fields["layers"], turned, strict=True)
    ]
    return fields | {"layers": tuple(layers)}


def olmo2(source: Source) -> Fields:
    """OLMo 2: norms behind attention and MLP and none before, and norms over the queries and keys of all heads."""
    bias = bool(source.get("attention_bias", False))
    norms = {"pre_norm": False, "post_norm": True, "qk_norm": "all"}
    return common(source) | norms | {"qkv_bias": bias, "output_bias": bias}


def olmo3(source: Source) -> Fields:
    """OLMo 3: OLMo 2 with a window in three of four layers; those that have it know no rotary scaling."""
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
