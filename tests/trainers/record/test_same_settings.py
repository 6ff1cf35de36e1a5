"""The settings of a run to be continued: those of another version, and one meaning in two spellings."""

import json
from pathlib import Path
from typing import Any

import pytest

from easydel.errors import ConfigError
from easydel.trainers.config import DPOConfig
from easydel.trainers.options.fields import read_yaml
from easydel.trainers.record import run_folder
from easydel.trainers.record.run_folder import RunFolder, hold
from easydel.trainers.record.same_settings import (
    given_settings,
    is_continued,
    require_not_past,
    require_same_settings,
)


def config(folder: Path, **settings: Any) -> DPOConfig:
    return DPOConfig(save_directory=str(folder), model_name="mine", **settings)


def open_run_folder(config: DPOConfig) -> RunFolder:
    with hold(config):
        return run_folder.open_run_folder(config)


def rewritten(folder: Path, **changes: Any) -> None:
    """The settings in a run folder, changed by hand; `...` takes one away."""
    import yaml

    file = folder / "mine" / "config.yaml"
    values = {**read_yaml(file), **changes}
    file.write_text(yaml.safe_dump({name: value for name, value in values.items() if value is not ...}))


def test_a_setting_that_an_earlier_version_did_not_have_had_its_default(tmp_path: Path):
    path = open_run_folder(config(tmp_path)).path
    rewritten(tmp_path, cpo_alpha=..., rpo_alpha=...)
    require_same_settings(config(tmp_path, resume="auto"), path)
    with pytest.raises(ConfigError, match=r"rpo_alpha was None, is 0\.5 now"):
        require_same_settings(config(tmp_path, rpo_alpha=0.5, resume="auto"), path)


def test_a_setting_of_a_newer_version_counts_where_it_was_given(tmp_path: Path):
    path = open_run_folder(config(tmp_path)).path
    rewritten(tmp_path, cowbell=3)
    require_same_settings(config(tmp_path), path)
    recorded = {"written_by": {"easydel": "9.0"}, "options": [], "facts": {}}
    (path / "fingerprints.json").write_text(json.dumps(recorded))
    require_same_settings(config(tmp_path), path)
    (path / "fingerprints.json").write_text(json.dumps({**recorded, "options": ["cowbell"]}))
    with pytest.raises(
        ConfigError, match=r"it was trained with cowbell = 3, which this version .*Continue with easydel-dpo 9\.0, "
    ):
        require_same_settings(config(tmp_path), path)


def test_what_was_given_are_the_settings_that_decide_and_are_not_defaults(tmp_path: Path):
    assert given_settings(config(tmp_path)) == []
    assert given_settings(config(tmp_path, beta=0.3, save_steps=5, loss_type="hinge")) == ["loss_type", "beta"]


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ({"loss_type": "hinge"}, {"loss_type": ["hinge"]}),
        ({"loss_type": ["hinge"]}, {"loss_type": "hinge", "loss_weights": [1.0]}),
        ({"loss_type": ["hinge", "sft"]}, {"loss_type": ["hinge", "sft"], "loss_weights": [1, 1]}),
        ({"lora_rank": 4}, {"lora_rank": 4, "lora_alpha": 8.0}),
        ({"lora_rank": 4}, {"lora_rank": 4, "lora_target_modules": "all-linear"}),
        ({"chat_template_date": "2026-11-28"}, {}),  # it keeps that of the run
        ({"max_length": 512}, {"max_length": "512"}),
        ({"scheduler": "linear"}, {"lr_scheduler_type": "linear"}),
        ({"optimizer": "adamw"}, {"optimizer": "adamw_torch"}),
    ],
)
def test_one_meaning_in_two_spellings_is_the_same(before: dict[str, Any], now: dict[str, Any], tmp_path: Path):
    path = open_run_folder(config(tmp_path, **before)).path
    require_same_settings(config(tmp_path, **now, resume="auto"), path)


def test_losses_in_another_order_or_with_other_weights_are_others(tmp_path: Path):
    path = open_run_folder(config(tmp_path, loss_type=["hinge", "sft"])).path
    for changed in ({"loss_type": ["sft", "hinge"]}, {"loss_type": ["hinge", "sft"], "loss_weights": [1, 2]}):
        with pytest.raises(ConfigError, match="other settings, loss_"):
            require_same_settings(config(tmp_path, **changed), path)


def test_a_run_is_continued_where_that_was_asked_for_and_there_is_one(tmp_path: Path):
    assert not is_continued(config(tmp_path, resume="auto"))
    open_run_folder(config(tmp_path))
    assert is_continued(config(tmp_path, resume="auto"))
    assert not is_continued(config(tmp_path))


def test_a_run_may_end_at_its_newest_checkpoint_and_not_before(tmp_path: Path):
    path = open_run_folder(config(tmp_path)).path
    for name in ("5", "10", "15.orbax-checkpoint-tmp-3"):
        (path / "checkpoints" / name).mkdir(parents=True)
    asked = config(tmp_path, resume="auto")
    require_not_past(asked, 10)
    with pytest.raises(ConfigError, match=r"step 10 in .*mine, past the 9 steps that the run has now: raise max_train"):
        require_not_past(asked, 9)
    require_not_past(config(tmp_path), 9)  # it starts again
