"""The families: for each `model_type`, the function that turns a `config.json` into the fields of a `ModelConfig`.

A family says in its function where it differs from Llama, and in the table what its class takes for an absent key.
The functions stand in the modules that end in `_families`.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from easydel.models.dense_families import (
    gemma,
    gemma2,
    gemma3,
    granite,
    llama,
    mistral,
    olmo2,
    olmo3,
    phi3,
    qwen2,
    qwen3,
    smollm3,
)
from easydel.models.family_fields import Fields
from easydel.models.hf_config import Source
from easydel.models.hybrid_families import lfm2, olmo_hybrid, qwen3_5
from easydel.models.newer_dense_families import cohere2, ernie4_5, exaone4, glm4, ministral3, seed_oss
from easydel.models.sparse_families import glm4_moe, mixtral, olmoe, qwen2_moe, qwen3_moe

# What the classes of several families take for keys that are absent.
_QWEN = {
    **{"num_key_value_heads": 32, "max_position_embeddings": 32_768},
    **{"use_sliding_window": False, "sliding_window": 4096},
}
_QWEN_VL = {
    **_QWEN,
    **{"vocab_size": 152_064, "hidden_size": 8192, "intermediate_size": 29_568, "num_hidden_layers": 80},
    **{"num_attention_heads": 64, "num_key_value_heads": 8, "rms_norm_eps": 1e-5, "max_window_layers": 80},
}
_GEMMA = {"head_dim": 256, "max_position_embeddings": 8192, "tie_word_embeddings": True}
_GEMMA_2 = {
    **_GEMMA,
    **{"num_key_value_heads": 4, "sliding_window": 4096},
    **{"attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0},
}


class Family(NamedTuple):
    """A family: the class that `transformers` has for it, the function that reads its configuration.

    Attributes:
        architecture: "" where that of its wrapper is meant.
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
    # The text inside of a wrapper, see `easydel.models.wrappers`: there is no class of it alone.
    **{f"{name}_text": Family("", qwen2, {**_QWEN_VL, "rope_theta": 1e6}) for name in ("qwen2_vl", "qwen2_5_vl")},
    "qwen3": Family("Qwen3ForCausalLM", qwen3, {**_QWEN, "head_dim": 128}),
    "qwen3_vl_text": Family(
        "",
        qwen3,
        {
            **{"vocab_size": 151_936, "hidden_size": 4096, "intermediate_size": 22_016, "num_hidden_layers": 32},
            **{"num_attention_heads": 32, "num_key_value_heads": 32, "head_dim": 128, "rope_theta": 5e5},
            **{"max_position_embeddings": 128_000, "use_sliding_window": False},
        },
    ),
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
    "cohere2": Family(
        "Cohere2ForCausalLM",
        cohere2,
        {"max_position_embeddings": 8192, "sliding_window": 4096, "tie_word_embeddings": True, "head_dim": None},
    ),
    "seed_oss": Family(
        "SeedOssForCausalLM",
        seed_oss,
        {
            **{"num_key_value_heads": 8, "head_dim": 128, "max_position_embeddings": 524_288},
            **{"attention_bias": True, "attention_dropout": 0.1},
        },
    ),
    "exaone4": Family(
        "Exaone4ForCausalLM", exaone4, {"num_key_value_heads": 32, "rms_norm_eps": 1e-5, "sliding_window": 4096}
    ),
    "ernie4_5": Family(
        "Ernie4_5ForCausalLM",
        ernie4_5,
        {
            **{"num_key_value_heads": 2, "head_dim": 128, "max_position_embeddings": 131_072, "rope_theta": 5e5},
            **{"rms_norm_eps": 1e-5, "tie_word_embeddings": True},
        },
    ),
    "glm4": Family(
        "Glm4ForCausalLM",
        glm4,
        {
            **{"num_key_value_heads": 2, "head_dim": 128, "max_position_embeddings": 131_072, "attention_bias": True},
            **{"rms_norm_eps": 1.5625e-7, "partial_rotary_factor": 0.5},
        },
    ),
    "ministral3": Family(
        "Ministral3ForCausalLM",
        ministral3,
        {
            **{"num_key_value_heads": 8, "head_dim": 128, "max_position_embeddings": 262_144},
            **{"rms_norm_eps": 1e-5, "sliding_window": None},
        },
    ),
    "mixtral": Family(
        "MixtralForCausalLM",
        mixtral,
        {"num_key_value_heads": 8, "max_position_embeddings": 131_072, "rope_theta": 1e6, "rms_norm_eps": 1e-5},
    ),
    "qwen2_moe": Family("Qwen2MoeForCausalLM", qwen2_moe, {**_QWEN, "num_key_value_heads": 16}),
    "olmoe": Family("OlmoeForCausalLM", olmoe, {"max_position_embeddings": 4096, "rms_norm_eps": 1e-5}),
    "glm4_moe": Family(
        "Glm4MoeForCausalLM",
        glm4_moe,
        {
            **{"num_key_value_heads": 8, "max_position_embeddings": 131_072, "rms_norm_eps": 1e-5},
            **{"partial_rotary_factor": 0.5},
        },
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
