"""Hints for names of other programs; tests/test_migrating.py compares them with the page."""

import inspect

import pytest

from easydel.errors import ConfigError
from easydel.trainers.config import DPOConfig
from easydel.trainers.dpo import DPOTrainer
from easydel.trainers.options.other_programs import OURS, elsewhere, known_names, unknown_options


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"bta": 0.2}, "DPOConfig: unknown option 'bta'. Did you mean 'beta'?"),
        ({"zzzz": 1}, "DPOConfig: unknown option 'zzzz'. The options are model_name, save_directory, "),
        ({"max_steps": 9}, "DPOConfig: unknown option 'max_steps'. Use max_training_steps."),
        ({"bf16": True}, "'bf16'. Use dtype, an argument of from_pretrained: bfloat16 where that is true."),
        ({"dtype": "bfloat16"}, "unknown option 'dtype'. Use dtype, an argument of from_pretrained."),
        ({"tools": []}, "unknown option 'tools'. It has no equivalent here: docs/migrating.md says why."),
    ],
)
def test_an_unknown_option_is_an_error_with_the_one_to_use(values, message):
    with pytest.raises(ConfigError) as error:
        DPOConfig(**values)
    assert message in str(error.value)


def test_no_name_is_both_renamed_and_without_equivalent():
    renamed, not_here, in_python = known_names()
    assert all(known_names())
    assert not set(renamed) & not_here
    assert not (set(renamed) | not_here) & set(in_python)


def test_a_flag_that_turns_off_what_another_program_has_gets_the_same_hint():
    assert elsewhere("no_use_peft", ["lora_rank"], flag="--") == elsewhere("use_peft", ["lora_rank"], flag="--")
    assert elsewhere("no_bf16", ["beta"], flag="--") == ""  # what it would be is not known there either


def test_a_null_is_to_be_left_out_unless_nothing_is_known_of_the_option():
    lines = unknown_options({"ref_model": None, "stage": None}, ["beta"], " See the list.").splitlines()
    assert lines == [
        "unknown options:",
        "  ref_model: It is null: leave it out.",
        "  stage: It has no equivalent here: docs/migrating.md says why.",
    ]


@pytest.mark.parametrize("theirs", OURS)
def test_an_argument_of_trl_is_an_error_that_names_ours(theirs):
    with pytest.raises(TypeError, match=f"use {OURS[theirs]}= for {theirs}="):
        DPOTrainer(model=None, **{theirs: None})  # type: ignore[call-arg]


def test_our_names_are_those_of_the_trainer_and_those_of_trl_are_not():
    taken = inspect.signature(DPOTrainer).parameters
    assert {*OURS.values()} <= {*taken}
    assert not OURS.keys() & {*taken}


@pytest.mark.exact  # without the checks of shapes, which look at arguments first
def test_any_other_unknown_argument_is_that_of_python():
    with pytest.raises(TypeError, match="callbacks"):
        DPOTrainer(callbacks=[])  # type: ignore[call-arg]
