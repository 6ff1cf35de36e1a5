"""What each optimizer has in its definition, and the names that other programs have for it."""

import pytest

from easydel.errors import ConfigError
from easydel.trainers.config import DPOConfig
from easydel.trainers.options.optimizers import REFUSED, SAME, OptimizerOptions

OURS = OptimizerOptions.__dataclass_fields__["optimizer"].metadata["choices"]
SETTINGS = {"adam_beta1": 0.8, "adam_beta2": 0.9, "adam_epsilon": 1e-6, "mu_dtype": "bfloat16", "nu_dtype": "bfloat16"}


def test_names_of_other_programs_are_ours_or_refused():
    assert set(SAME.values()) <= set(OURS)
    assert not set(SAME) & set(REFUSED)
    assert {DPOConfig(optimizer=name).optimizer for name in SAME} == {"adamw", "lion", "rmsprop"}
    for name, reason in REFUSED.items():
        with pytest.raises(ConfigError, match=f"optimizer = '{name}' is not available: it"):
            DPOConfig(optimizer=name)
        assert any(repr(ours) in reason for ours in OURS), name


@pytest.mark.parametrize("optimizer", OURS)
@pytest.mark.parametrize("setting", SETTINGS)
def test_a_setting_is_refused_where_the_optimizer_does_not_have_it(optimizer, setting):
    unused = {
        "adafactor": tuple(SETTINGS),
        "lion": ("adam_epsilon", "nu_dtype"),  # one moment
        "rmsprop": ("adam_beta1", "mu_dtype"),  # the second alone
    }.get(optimizer, ())
    options = {"optimizer": optimizer, setting: SETTINGS[setting]}
    if setting not in unused:
        assert getattr(DPOConfig(**options), setting) == SETTINGS[setting]
        return
    with pytest.raises(ConfigError, match=f"{setting} = .* has no effect with optimizer = '{optimizer}': leave it out"):
        DPOConfig(**options)


def test_a_misspelled_optimizer_is_an_error_with_the_nearest():
    with pytest.raises(ConfigError, match=r"Did you mean 'adamw'\?"):
        DPOConfig(optimizer="adamW")
    with pytest.raises(ConfigError, match="learning_rate = -1e-06 must be above 0"):
        DPOConfig(learning_rate=-1e-6)
