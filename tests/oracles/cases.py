"""Small models whose logits are known: configurations, and weights that follow from each tensor's name alone.

Imported by the tests and by `make.py`, which runs where torch is and easydel is not.
"""

import zlib
from typing import Any

import numpy as np

from oracles.families import FAMILY_CASES
from oracles.newer_families import NEWER_CASES

SMALL: dict[str, Any] = {
    "vocab_size": 48,
    "hidden_size": 32,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "hidden_act": "silu",
    "max_position_embeddings": 16,
    "rms_norm_eps": 1e-5,
    "bos_token_id": 1,
    "eos_token_id": None,
    "pad_token_id": None,
}


def _llama(**changes: Any) -> dict[str, Any]:
    return {"model_type": "llama", "architectures": ["LlamaForCausalLM"], **SMALL, **changes}


def _without_absent(source: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in source.items() if value is not ...}


# Rotary settings in both spellings: `rope_theta` with `rope_scaling` (transformers 4), `rope_parameters` (5).
CASES: dict[str, dict[str, Any]] = {
    "llama": _llama(num_key_value_heads=4, rope_theta=10000.0),
    "llama-gqa": _llama(rope_parameters={"rope_type": "default", "rope_theta": 500.0}),
    "llama-mqa-tied": _llama(num_key_value_heads=1, tie_word_embeddings=True, rope_theta=10000.0),
    "llama-biases": _llama(attention_bias=True, mlp_bias=True, rope_theta=10000.0),
    "llama-head-dim": _llama(head_dim=14, rope_theta=10000.0),
    "llama-gelu": _llama(hidden_act="gelu", rope_theta=10000.0),
    "llama-gelu-tanh": _llama(hidden_act="gelu_pytorch_tanh", rope_theta=10000.0),
    "llama-linear": _llama(rope_theta=500.0, rope_scaling={"type": "linear", "factor": 4.0}),
    "llama-dynamic": _llama(rope_theta=500.0, rope_scaling={"type": "dynamic", "factor": 2.0}),
    "llama-yarn": _llama(
        rope_parameters={
            "rope_type": "yarn",
            "rope_theta": 10000.0,
            "factor": 4.0,
            "original_max_position_embeddings": 4,
            "beta_fast": 2.0,
            "beta_slow": 0.5,
        }
    ),
    "llama-yarn-mscale": _llama(
        rope_theta=10000.0,
        rope_scaling={
            "rope_type": "yarn",
            "factor": 8.0,
            "original_max_position_embeddings": 8,
            "mscale": 0.7,
            "mscale_all_dim": 0.3,
            "truncate": False,
        },
    ),
    "llama-llama3": _llama(
        rope_parameters={
            "rope_type": "llama3",
            "rope_theta": 100.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 24,
        }
    ),
    "qwen2": {
        "model_type": "qwen2",
        "architectures": ["Qwen2ForCausalLM"],
        **SMALL,
        "use_sliding_window": False,
        "rope_theta": 1000.0,
    },
    "qwen2-tied": {
        "model_type": "qwen2",
        "architectures": ["Qwen2ForCausalLM"],
        **SMALL,
        "tie_word_embeddings": True,
        "rope_theta": 1000.0,
    },
    **{name: _without_absent({**SMALL, **case}) for name, case in (FAMILY_CASES | NEWER_CASES).items()},
}
# One case of each family, for what is too slow to be done with all.
FAMILIES = {case["model_type"]: name for name, case in reversed(CASES.items())}

# Longer than max_position_embeddings, so that dynamic scaling has something to do.
TOKENS = np.random.default_rng(7).integers(2, SMALL["vocab_size"], (1, 24))
PROMPT_LENGTH = 6
NEW_TOKENS = 14
# Pairs of (prompt, chosen, rejected), and what a reference says of them, for one step of DPO.
PAIRS = (([3, 9, 30, 7], [12, 44, 5, 21, 8, 17, 2], [40, 6, 11]), ([25, 13], [33, 19, 2], [28, 41, 14, 10, 37, 2]))
REFERENCE = ((-24.0, -9.0), (-12.0, -20.0))
BETA = 0.3


def weight(model_type: str, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Returns the float32 values of one tensor of a Hugging Face folder: the same wherever they are made."""
    noise = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape)
    if "norm" in name:
        values = (0 if "gemma" in model_type else 1) + 0.3 * noise  # Gemma adds the 1 itself
    elif name.endswith(".bias"):
        values = 0.3 * noise
    else:
        values = 1.3 * noise / np.sqrt(shape[-1])
    return values.astype(np.float32)
