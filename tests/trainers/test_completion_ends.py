"""Where completions end, and where the model that was trained on them stops."""

from dataclasses import replace

import pytest

from easydel.data.pair import Limits, Pair
from easydel.models.causal_lm import CausalLM
from easydel.models.export import Origin
from easydel.trainers.completion_ends import count_completion_ends, warn_of_completion_ends, with_trained_ends
from oracles.tiny import tiny_config, tiny_model

PAIRS = [Pair([5, 6], [7, 8, 1], [9, 1], index=0), Pair([5, 6], [7, 2], [9, 10, 1], index=1)]


def model(generation: dict | None, eos_token_id: int | list[int] = 1) -> CausalLM:
    """A model that stops at token 1 by its config.json, and by generation_config.json where it has one."""
    tiny = tiny_model(config=tiny_config(eos_token_id=eos_token_id))
    return replace(tiny, origin=Origin("tiny", {"bos_token_id": 3}, generation))


def exported(given: CausalLM, pairs: list[Pair] = PAIRS) -> dict | None:
    """What stands in the generation_config.json of the export."""
    return with_trained_ends(given, count_completion_ends(pairs, None, given, Limits()), None).origin.generation


def warned(given: CausalLM, pairs: list[Pair] = PAIRS) -> list[str]:
    with pytest.warns(UserWarning, match="pairs: ") as said:
        warn_of_completion_ends(count_completion_ends(pairs, None, given, Limits()), None, given, name="pairs")
    return [str(each.message) for each in said]


def test_a_model_that_stops_where_its_completions_end_keeps_its_files():
    for generation in (None, {"eos_token_id": 1, "temperature": 0.6}):
        assert exported(model(generation), PAIRS[:1]) == generation


def test_a_generation_config_that_names_no_end_names_it_in_the_export():
    """transformers 5.24 generates on past the eos_token_id of config.json where generation_config.json has none."""
    for silent in ({"temperature": 0.6}, {"temperature": 0.6, "eos_token_id": None}):
        given = model(silent, eos_token_id=[1, 2])
        assert given.eos_token_ids == (1, 2)
        with pytest.warns(UserWarning, match=r"no eos_token_id, so transformers stops at no token; .* name 1, 2\."):
            assert exported(given) == {"temperature": 0.6, "eos_token_id": [1, 2]}


def test_completions_without_an_end_change_no_file_and_are_counted():
    endless = [PAIRS[0], Pair([5], [7, 8], [9], index=4)]
    assert exported(model({"eos_token_id": 1}), endless) == {"eos_token_id": 1}
    (said,) = warned(model({"eos_token_id": 1}), endless)
    assert said.startswith("pairs: in 1 of 2 rows a completion does not end in a token at which a model stops (1)")
    assert "the first is row 4, whose chosen completion ends in [7, 8]" in said


def test_a_completion_that_ends_twice_is_named_with_its_row():
    doubled = [PAIRS[0], Pair([5], [7, 1, 1], [9, 1], index=8)]
    (said,) = warned(model(None), doubled)
    assert (
        "in 1 of 2 rows a completion ends twice; the first is row 8, whose chosen completion ends in [7, 1, 1]" in said
    )
