"""Adapters whose logits are known: settings, and tensors that follow from each name alone.

Imported by the tests and by `make_adapters.py`, which runs where torch and PEFT are and easydel is not.
"""

import zlib
from typing import Any

import numpy as np

# By name: the base of `cases.CASES`, and the settings of PEFT.
ADAPTERS: dict[str, tuple[str, dict[str, Any]]] = {
    "lora": ("llama-gqa", {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"]}),
    "rslora": (
        "llama-biases",
        {"r": 2, "lora_alpha": 3, "target_modules": ["k_proj", "o_proj", "down_proj"], "use_rslora": True},
    ),
    # Tensors that the file keeps fused have one A for all their parts.
    "fused": ("phi3", {"r": 3, "lora_alpha": 6, "target_modules": ["qkv_proj", "gate_up_proj", "down_proj"]}),
    "fused-dora": ("phi3-short", {"r": 2, "lora_alpha": 5, "target_modules": "all-linear", "use_dora": True}),
    "patterns": (
        "llama-gqa",
        {
            "r": 4,
            "lora_alpha": 8,
            "target_modules": ["q_proj", "v_proj", "mlp.up_proj"],
            "rank_pattern": {"self_attn.q_proj": 2, ".*up_proj": 5},
            "alpha_pattern": {"model.layers.1.self_attn.v_proj": 3, "v_proj": 7, "up_proj": 2.5},
        },
    ),
    "dora": ("qwen2-tied", {"r": 3, "lora_alpha": 6, "target_modules": "all-linear", "use_dora": True}),
}


def adapter_weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Returns the float32 values of one tensor of an adapter file: the same wherever they are made."""
    noise = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape)
    values = 1.3 + 0.3 * noise if name.endswith("lora_magnitude_vector") else 0.6 * noise / np.sqrt(shape[-1])
    return values.astype(np.float32)
