"""What is trained: weights by name, or adapters."""

import pytest

from easydel.errors import ConfigError
from easydel.trainers.config import DPOConfig


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lora_rank": 0}, "lora_rank = 0 must be at least 1"),
        ({"lora_alpha": 8}, "lora_alpha = 8.0 needs lora_rank, such as lora_rank = 16: set it"),
        ({"lora_dropout": 0.1}, "lora_dropout = 0.1 needs lora_rank"),
        ({"use_dora": True}, "use_dora = True needs lora_rank"),
        ({"use_rslora": True}, "use_rslora = True needs lora_rank"),
        ({"lora_target_modules": "q_proj"}, "lora_target_modules = 'q_proj' needs lora_rank"),
        ({"frozen_parameters": "("}, r"frozen_parameters = '\(' is not a regular expression: "),
    ],
    ids=str,
)
def test_options_of_adapters_that_are_not_made_and_patterns_that_are_none_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        DPOConfig(**settings)


def test_adapters_have_their_settings():
    config = DPOConfig(lora_rank=8, lora_alpha=16, lora_target_modules="q_proj, v_proj", frozen_parameters=r"\.embed")
    assert (config.lora_alpha, config.lora_target_modules) == (16.0, ["q_proj", "v_proj"])
