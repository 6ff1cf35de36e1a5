"""Options of evaluation that need one another."""

import pytest

from easydel.errors import ConfigError
from easydel.trainers.config import DPOConfig


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"best_metric_greater": False}, "best_metric_greater = False needs best_metric"),
        ({"load_best_at_end": True}, "load_best_at_end = True needs best_metric"),
        ({"early_stopping_patience": 3, "evaluation_steps": 5}, "early_stopping_patience = 3 needs best_metric"),
        ({"early_stopping_patience": 3, "best_metric": "eval_loss"}, "early_stopping_patience = 3 needs evaluation_st"),
        ({"early_stopping_threshold": 0.1}, "early_stopping_threshold = 0.1 needs early_stopping_patience"),
        ({"early_stopping_threshold": -0.1}, "early_stopping_threshold = -0.1 must be at least 0"),
        ({"early_stopping_patience": 0}, "early_stopping_patience = 0 must be at least 1"),
        ({"generation_interval": 5}, "generation_interval = 5 needs generation_prompts"),
        ({"generation_interval": 0, "generation_prompts": 1}, "generation_interval = 0 must be above 0"),
    ],
)
def test_a_setting_of_evaluation_that_would_be_ignored_is_an_error(options, message):
    with pytest.raises(ConfigError, match=message):
        DPOConfig(**options)
