"""Lengths, columns and rows."""

import pytest

from easydel.errors import ConfigError
from easydel.trainers.config import DPOConfig


def test_each_of_the_three_lengths_may_be_without_a_limit():
    config = DPOConfig(max_length=None, max_prompt_length=4096, max_completion_length=None)
    assert (config.max_length, config.max_prompt_length) == (None, 4096)
    assert DPOConfig.from_dict({"max_length": "none"}).max_length is None


def test_columns_are_a_dict_pairs_of_a_command_line_or_a_mapping_of_yaml(tmp_path):
    wanted = {"prompt": "question", "chosen": "best", "ignore": ["notes", "context"]}
    pairs = ["prompt=question", "chosen=best", "ignore=notes", "ignore=context"]
    (tmp_path / "run.yaml").write_text("columns:\n  prompt: question\n  chosen: best\n  ignore: [notes, context]\n")
    for config in (
        DPOConfig(columns=wanted),
        DPOConfig(columns=",".join(pairs)),
        DPOConfig(columns=pairs),
        DPOConfig.from_yaml(tmp_path / "run.yaml"),
    ):
        assert config.columns == wanted
        config.to_yaml(tmp_path / "again.yaml")
        assert DPOConfig.from_yaml(tmp_path / "again.yaml") == config
    assert DPOConfig(columns="none").columns is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("prompt", "columns = 'prompt' must be name=value pairs, such as prompt=question; 'prompt' is not one"),
        ({"promt": "question"}, "columns: unknown name 'promt'"),
        ({"prompt": 3}, "columns: prompt = 3 is not the name of a column"),
        (["prompt=a", "prompt=b"], r"columns: prompt = \['a', 'b'\] is not the name of a column"),
    ],
)
def test_columns_that_are_not_pairs_of_known_names_are_an_error(given, message):
    with pytest.raises(ConfigError, match=message):
        DPOConfig(columns=given)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_length": 1}, "max_length = 1 must be at least 2."),
        ({"max_length": 512.5}, "max_length = 512.5 must be an integer"),
        (
            {"max_length": 256, "max_prompt_length": 256},
            "max_prompt_length = 256 must be below max_length = 256, so th",
        ),
        (
            {"test_split_size": 2.5},
            "test_split_size = 2.5 must be a share of the rows below 1 or an integer .* write 2",
        ),
        ({"test_split_size": 0}, "test_split_size = 0.0 must be above 0"),
        ({"chat_template_date": "28 November"}, "chat_template_date = '28 November'"),
    ],
)
def test_lengths_rows_and_days_that_cannot_be_are_an_error(options, message):
    with pytest.raises(ConfigError, match=message):
        DPOConfig(**options)
