"""Names of runs, and how often things are done."""

import pytest

from easydel.errors import ConfigError
from easydel.trainers.config import DPOConfig


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("../x", "model_name = '../x' must be one plain folder name: write 'x'"),
        ("meta-llama/Llama", "write 'meta-llama-Llama', and put folders in save_directory"),
        ("..", "must be one plain folder name"),
        ("", "must be one plain folder name"),
    ],
)
def test_a_name_that_is_not_one_folder_is_refused_with_one_that_is(name, message):
    with pytest.raises(ConfigError) as error:
        DPOConfig(model_name=name)
    assert message in str(error.value)


def test_steps_may_be_a_share_or_an_epoch_and_epochs_a_part():
    options = {"save_steps": "epoch", "log_steps": "0.1", "evaluation_steps": 5.0, "num_train_epochs": "1.5"}
    config = DPOConfig.from_dict(options | {"warmup_steps": 0.2})
    assert (config.save_steps, config.log_steps, config.evaluation_steps) == ("epoch", 0.1, 5)
    assert (config.num_train_epochs, config.warmup_steps) == (1.5, 0.2)
    assert isinstance(config.evaluation_steps, int)
    assert isinstance(DPOConfig(num_train_epochs=3.0).num_train_epochs, int)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"push_to_hub": True, "do_last_save": False}, "push_to_hub = True needs do_last_save = True"),
        ({"hub_model_id": "me/tuned"}, "hub_model_id = 'me/tuned' needs push_to_hub = True"),
        ({"hub_private_repo": True}, "hub_private_repo = True needs push_to_hub = True"),
    ],
)
def test_what_is_not_uploaded_has_no_place_on_the_hub(options, message):
    with pytest.raises(ConfigError, match=message):
        DPOConfig(**options)
