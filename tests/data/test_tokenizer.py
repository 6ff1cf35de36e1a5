"""The part of a tokenizer that is used here is one that tokenizers of transformers have."""

import inspect

import pytest
from transformers import PreTrainedTokenizerFast

from easydel.data.tokenizer import Tokenizer
from oracles.tokenizers import tiny_tokenizer

MEMBERS = [name for name in vars(Tokenizer) if not name.startswith("_") or name == "__call__"]


@pytest.mark.parametrize("name", MEMBERS)
def test_a_tokenizer_of_transformers_has_all_that_is_used(name):
    assert hasattr(tiny_tokenizer(), name)


@pytest.mark.parametrize("name", [name for name in MEMBERS if inspect.isfunction(vars(Tokenizer)[name])])
def test_every_argument_that_is_given_is_one_that_it_takes(name):
    taken = inspect.signature(getattr(PreTrainedTokenizerFast, name)).parameters
    takes_more = any(each.kind is each.VAR_KEYWORD for each in taken.values())
    for argument in list(inspect.signature(vars(Tokenizer)[name]).parameters)[1:]:
        assert takes_more or argument in taken or argument == "options"
