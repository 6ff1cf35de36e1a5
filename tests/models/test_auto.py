"""The options of from_pretrained."""

import jax.numpy as jnp
import pytest

from easydel.errors import ConfigError
from oracles.loaded import load


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gradient_checkpointing": "nothing_savable"}, "Did you mean 'nothing_saveable'"),
        ({"gradient_checkpointing": "save_only_these_names"}, "is not supported"),
        ({"precision": "hihgest"}, "Did you mean 'highest'"),
        ({"precision": 3}, "precision 3 is not supported. Supported: None, default, high, highest"),
        ({"attn_mechanism": "vanila"}, "Did you mean 'vanilla'"),
        ({"dtype": "float17"}, "dtype 'float17' is not supported. Supported: float32"),
        ({"config_kwargs": {"attn_mechanisms": "vanilla"}}, "Did you mean 'attn_mechanism'"),
    ],
)
def test_a_setting_that_does_not_exist_is_refused_with_the_nearest_name(folder, options, message):
    with pytest.raises(ConfigError, match=message):
        load(folder, **options)


def test_config_kwargs_win_over_keywords(folder):
    model = load(folder, config_kwargs={"gradient_checkpointing": "dots_saveable", "dtype": jnp.bfloat16})
    assert (model.decoder.gradient_checkpointing, model.decoder.dtype) == ("dots_saveable", jnp.bfloat16)


def test_recomputation_may_be_turned_on_and_off_as_in_other_programs(folder):
    kept = [load(folder, gradient_checkpointing=given).decoder.gradient_checkpointing for given in (True, False)]
    assert kept == ["nothing_saveable", ""]
