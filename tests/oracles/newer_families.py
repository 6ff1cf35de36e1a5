"""Small models of newer families, see `families.py`."""

from typing import Any

_FULL, _SLIDING = "full_attention", "sliding_attention"


def _case(model_type: str, architecture: str, **changes: Any) -> dict[str, Any]:
    return {"model_type": model_type, "architectures": [f"{architecture}ForCausalLM"], **changes}


NEWER_CASES: dict[str, dict[str, Any]] = {
    "cohere2": _case(
        "cohere2",
        "Cohere2",
        **{"num_hidden_layers": 4, "sliding_window": 5, "sliding_window_pattern": 2, "layer_norm_eps": 1e-3},
        **{"logit_scale": 0.3, "rope_theta": 1000.0, "pad_token_id": 0},
    ),
    "cohere2-types": _case(
        "cohere2",
        "Cohere2",
        **{"num_key_value_heads": 4, "attention_bias": True, "tie_word_embeddings": False, "sliding_window": 4},
        **{"layer_types": [_FULL, _SLIDING], "pad_token_id": 0},
        rope_parameters={"rope_type": "default", "rope_theta": 500.0},
    ),
    "seed_oss": _case(
        "seed_oss",
        "SeedOss",
        **{"head_dim": 10, "attention_dropout": 0.0, "residual_dropout": 0.1, "rope_theta": 1000.0, "pad_token_id": 0},
    ),
    "seed_oss-biases": _case(
        "seed_oss",
        "SeedOss",
        **{"head_dim": 8, "attention_bias": False, "attention_out_bias": True, "mlp_bias": True},
        **{"attention_dropout": 0.0, "tie_word_embeddings": True, "rope_theta": 1000.0, "pad_token_id": 0},
    ),
    "exaone4": _case(
        "exaone4",
        "Exaone4",
        **{"num_hidden_layers": 4, "sliding_window": 5, "sliding_window_pattern": 2, "rope_theta": 1000.0},
    ),
    "exaone4-full": _case(
        "exaone4", "Exaone4", sliding_window=None, layer_types=[_FULL] * 2, tie_word_embeddings=True, rope_theta=500.0
    ),
    "ernie4_5": _case("ernie4_5", "Ernie4_5", head_dim=12, use_bias=True, rope_theta=1000.0, pad_token_id=0),
    "ernie4_5-untied": _case(
        "ernie4_5", "Ernie4_5", head_dim=8, tie_word_embeddings=False, rope_theta=1000.0, pad_token_id=0
    ),
    "glm4": _case("glm4", "Glm4", head_dim=12, rope_theta=1000.0, pad_token_id=0),
    "glm4-whole": _case(
        "glm4",
        "Glm4",
        **{"head_dim": 8, "attention_bias": False, "partial_rotary_factor": 1.0, "tie_word_embeddings": True},
        **{"rope_theta": 1000.0, "pad_token_id": 0},
    ),
    "ministral3": _case(
        "ministral3",
        "Ministral3",
        head_dim=10,
        pad_token_id=0,
        rope_parameters={
            **{"type": "yarn", "rope_type": "yarn", "rope_theta": 1000.0, "factor": 4.0, "beta_fast": 32.0},
            **{"beta_slow": 1.0, "original_max_position_embeddings": 6, "max_position_embeddings": 24},
            **{"mscale": 1.0, "mscale_all_dim": 1.0, "llama_4_scaling_beta": 0.4},
        },
    ),
    "qwen2_moe": _case(
        "qwen2_moe",
        "Qwen2Moe",
        **{"num_experts": 5, "num_experts_per_tok": 2, "moe_intermediate_size": 12, "decoder_sparse_step": 2},
        **{"shared_expert_intermediate_size": 20, "norm_topk_prob": True, "router_aux_loss_coef": 0.3},
        **{"num_hidden_layers": 3, "rope_theta": 1000.0},
    ),
    "olmoe": _case(
        "olmoe",
        "Olmoe",
        **{"num_experts": 4, "num_experts_per_tok": 2, "router_aux_loss_coef": 0.3, "rope_theta": 1000.0},
        **{"num_key_value_heads": 2, "attention_bias": True, "pad_token_id": 0},
    ),
    "glm4_moe": _case(
        "glm4_moe",
        "Glm4Moe",
        **{"head_dim": 12, "num_hidden_layers": 3, "n_routed_experts": 6, "num_experts_per_tok": 2, "n_group": 3},
        **{"topk_group": 2, "moe_intermediate_size": 12, "n_shared_experts": 2, "routed_scaling_factor": 1.7},
        **{"use_qk_norm": True, "attention_bias": True, "rope_theta": 1000.0, "pad_token_id": 0},
    ),
    "glm4_moe-plain": _case(
        "glm4_moe",
        "Glm4Moe",
        **{"num_key_value_heads": 1, "n_routed_experts": 4, "num_experts_per_tok": 3, "moe_intermediate_size": 16},
        **{"first_k_dense_replace": 0, "norm_topk_prob": False, "tie_word_embeddings": True, "rope_theta": 1000.0},
    ),
}
