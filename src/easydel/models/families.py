"""The families: for each `model_type`, the function that turns a `config.json` into the fields of a `ModelConfig`.

A family says in its function where it differs from Llama, and in the table what its class takes for an absent key.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from easydel.models.family_fields import Fields, by_type, common, every, indices, with_experts, with_types, with_window
from easydel.models.hf_config import Source, cap, number, only, per_layer, positive
from easydel.models.hybrid_families import lfm2, olmo_hybrid, qwen3_5
from easydel.models.kinds import Experts

# What the classes of several families take for keys that are absent.
_QWEN = {
    **{"num_key_value_heads": 32, "max_position_embeddings": 32_768},
    **{"use_sliding_window": False, "sliding_window": 4096},
}
_GEMMA = {"head_dim": 256, "max_position_embeddings": 8192, "tie_word_embeddings": True}
_GEMMA_2 = {
    **_GEMMA,
    **{"num_key_value_heads": 4, "sliding_window": 4096},
    **{"attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0},
}


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
    return with_window(fields | {"fused_projections": True}, source.get("sliding_window"))


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


def mixtral(source: Source) -> Fields:
    """Mixtral: Mistral with experts in every layer, and a window only where `sliding_window` is given."""
    only(source, "router_jitter_noise", 0.0, "noise on the input of the router")
    fields = mistral(source)
    experts = Experts(
        number=number(source, "num_local_experts", int, 8),
        per_token=number(source, "num_experts_per_tok", int, 2),
        size=fields["intermediate_size"],
        normalize=True,
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
        normalize=bool(source.get("norm_topk_prob", False)),
        aux_coefficient=number(source, "router_aux_loss_coef", float, 0.001),
    )
    step, dense = number(source, "decoder_sparse_step", int, 1), source.get("mlp_only_layers") or ()
    return with_experts(fields, experts, [i not in dense and (i + 1) % step == 0 for i in indices(fields)])


class Family(NamedTuple):
    """A family: the class that `transformers` has for it, the function that reads its configuration.

    Attributes:
        absent: what the class takes for keys that are absent, where that is not what Llama's takes.
    """

    architecture: str
    read: Callable[[Source], Fields]
    absent: Mapping[str, Any] = MappingProxyType({})


FAMILIES: dict[str, Family] = {
    "llama": Family("LlamaForCausalLM", llama),
    "mistral": Family(
        "MistralForCausalLM",
        mistral,
        {"num_key_value_heads": 8, "max_position_embeddings": 131_072, "sliding_window": 4096},
    ),
    "qwen2": Family("Qwen2ForCausalLM", qwen2, _QWEN),
    "qwen3": Family("Qwen3ForCausalLM", qwen3, {**_QWEN, "head_dim": 128}),
    "gemma": Family("GemmaForCausalLM", gemma, {**_GEMMA, "num_key_value_heads": 16}),
    "gemma2": Family("Gemma2ForCausalLM", gemma2, _GEMMA_2),
    # The text inside of a model of text and images says as little as that of the hub's: it needs them all.
    "gemma3_text": Family(
        "Gemma3ForCausalLM",
        gemma3,
        {
            **_GEMMA_2,
            **{"vocab_size": 262_208, "hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 26},
            **{"num_attention_heads": 8, "max_position_embeddings": 131_072},
            **{"attn_logit_softcapping": None, "final_logit_softcapping": None},
        },
    ),
    "phi3": Family(
        "Phi3ForCausalLM",
        phi3,
        {"rms_norm_eps": 1e-5, "max_position_embeddings": 4096, "original_max_position_embeddings": 4096},
    ),
    "smollm3": Family(
        "SmolLM3ForCausalLM",
        smollm3,
        {
            **{"num_key_value_heads": 4, "max_position_embeddings": 32_768, "rope_theta": 2e6},
            **{"tie_word_embeddings": True, "use_sliding_window": False},
        },
    ),
    "olmo2": Family("Olmo2ForCausalLM", olmo2, {"rms_norm_eps": 1e-5}),
    "olmo3": Family("Olmo3ForCausalLM", olmo3, {"rms_norm_eps": 1e-5, "sliding_window": 4096}),
    "granite": Family("GraniteForCausalLM", granite),
    "mixtral": Family(
        "MixtralForCausalLM",
        mixtral,
        {"num_key_value_heads": 8, "max_position_embeddings": 131_072, "rope_theta": 1e6, "rms_norm_eps": 1e-5},
    ),
    "qwen3_moe": Family("Qwen3MoeForCausalLM", qwen3_moe, {**_QWEN, "num_key_value_heads": 4}),
    "lfm2": Family(
        "Lfm2ForCausalLM",
        lfm2,
        {
            **{"num_key_value_heads": 8, "max_position_embeddings": 128_000, "rope_theta": 1e6},
            **{"tie_word_embeddings": True},
        },
    ),
    "qwen3_5_text": Family(
        "Qwen3_5ForCausalLM",
        qwen3_5,
        {
            **{"num_attention_heads": 16, "num_key_value_heads": 4, "head_dim": 256},
            **{"max_position_embeddings": 32_768},
        },
    ),
    "olmo_hybrid": Family("OlmoHybridForCausalLM", olmo_hybrid, {"max_position_embeddings": 65_536}),
}
