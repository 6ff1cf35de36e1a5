"""What the command line loads: a model with data, datasets with weights and configs, five axes."""

import pytest

from easydel.errors import ConfigError
from easydel.scripts.finetune.run_config import RunConfig
from easydel.scripts.loading import axis_dims

GIVEN = {"repo_id": "model", "dataset_name": "rows.jsonl"}


def test_sharding_axis_may_begin_with_a_dash():
    assert axis_dims(RunConfig(**GIVEN, sharding_axis="-1,1,1,1,1").sharding_axis) == (-1, 1, 1, 1, 1)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"repo_id": "x"}, "--repo_id x needs --dataset_name too; with neither, the quick start runs"),
        ({"dataset_name": ["a", "b"]}, "--dataset_name a b needs --repo_id too"),
        ({**GIVEN, "dtype": "int8"}, "dtype = 'int8' is not one of 'float32'"),
        ({**GIVEN, "sharding_axis": "1,1"}, "sharding_axis = '1,1'"),
        ({**GIVEN, "dataset_weights": [1.0, 2.0]}, "--dataset_weights"),
        ({**GIVEN, "dataset_config": ["en", "de"]}, "--dataset_config en de must be one config for all datasets"),
        ({**GIVEN, "eval_dataset_config": "en"}, "--eval_dataset_config has no effect without an eval dataset"),
        ({**GIVEN, "eval_dataset_name": ["a.jsonl", "b.jsonl"]}, "--eval_dataset_name"),
        ({**GIVEN, "peer_timeout": 0}, "peer_timeout = 0 must be at least 1"),
    ],
)
def test_what_cannot_be_loaded_together_is_an_error_before_anything_is_loaded(values, message):
    with pytest.raises(ConfigError, match=message):
        RunConfig(**values)


def test_with_neither_model_nor_data_the_quick_start_is_meant():
    assert (RunConfig().repo_id, RunConfig().dataset_name) == ("", "")
