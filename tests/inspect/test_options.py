"""Options of an inspection."""

import pytest

from easydel.errors import ConfigError
from easydel.inspect.options import InspectConfig


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "there are no pairs to inspect"),
        ({"similarity": 1.5}, "similarity = 1.5 must be"),
        ({"similarity": 0}, "similarity = 0.0 must be"),
        ({"max_pairs_per_prompt": 0}, "max_pairs_per_prompt = 0 must be"),
        ({"fail_on": "errors"}, "fail_on"),
        ({"max_length": 512}, "max_length = 512 needs repo_id"),
        ({"max_length": None}, "max_length = None needs repo_id"),
        ({"dataset_num_proc": 2}, "dataset_num_proc = 2 needs repo_id"),
        ({"eval_dataset_split": "test"}, "eval_dataset_split = 'test' needs eval_dataset_name"),
        ({"eval_dataset_config": "a"}, "needs eval_dataset_name"),
        ({"write": "cleaned.csv"}, "must end in .jsonl"),
        ({"columns": {"prompt": 3}}, "columns"),
    ],
)
def test_values_that_cannot_be_are_errors(values, words):
    with pytest.raises(ConfigError, match=words):
        InspectConfig(**({"dataset_name": "a.jsonl"} if values else {}), **values)


def test_defaults_are_those_of_the_page():
    config = InspectConfig(dataset_name="a.jsonl")
    assert (config.fail_on, config.similarity, config.max_pairs_per_prompt, config.output) == ("warning", 0.8, 5, ".")


@pytest.mark.parametrize("given", ["repo_id", "processor_repo_id"])
def test_a_tokenizer_gives_its_options_an_effect(given):
    assert InspectConfig(dataset_name="a.jsonl", max_length=512, **{given: "model"}).max_length == 512
