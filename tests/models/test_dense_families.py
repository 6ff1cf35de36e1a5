"""What the families without experts refuse: settings that would be read and do nothing, or that cannot be."""

import pytest

from easydel.errors import ConfigError
from easydel.models.config import ModelConfig
from oracles.cases import CASES


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("qwen2", {"layer_types": ["sliding_attention"] * 2}, "sliding_window, or use_sliding_window, is off"),
        ("qwen2", {"layer_types": ["full_attention"]}, "layer_types has 1 entries; num_hidden_layers is 2"),
        ("qwen2", {"layer_types": ["full_atention"] * 2}, "Did you mean 'full_attention'"),
        ("mistral", {"sliding_window": 0}, r"sliding_window \(0\) must be at least 1"),
        ("smollm3", {"no_rope_layers": [1]}, "no_rope_layers has 1 entries"),
        ("gemma2", {"attn_logit_softcapping": -1.0}, r"attn_logit_softcapping \(-1.0\) must be above 0"),
        ("gemma3", {"use_bidirectional_attention": True}, "attention to later tokens is not supported"),
        ("phi3", {"resid_pdrop": 0.1}, "resid_pdrop is 0.1: dropout of the residual stream"),
        ("phi3-long", {"partial_rotary_factor": 0.9}, "is 7 channels; rotary angles turn pairs"),
        ("phi3-long", {"rope_scaling": {"type": "longrope", "short_factor": [1.0]}}, "lacks long_factor"),
        (
            "phi3-long",
            {"rope_scaling": {"type": "longrope", "short_factor": [1.0], "long_factor": [1.0] * 3}},
            "short_factor has 1 numbers; 6 rotated channels need 3",
        ),
    ],
)
def test_settings_of_a_family_that_cannot_be_are_refused(name, changes, message):
    with pytest.raises(ConfigError, match=message):
        ModelConfig.from_hf(CASES[name] | changes)
