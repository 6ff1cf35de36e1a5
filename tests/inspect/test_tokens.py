"""The pairs as tokens: what is cut, left out, changed, or without an end."""

import pytest

from easydel.data.pair import Limits
from easydel.data.prepare import TokenizeConfig, prepare
from easydel.errors import DataError
from easydel.inspect.tokens import CHECKS, inspect_tokens
from oracles.tokenizers import tiny_tokenizer

TEXT = {"prompt": "the sky", "chosen": " is blue and wide", "rejected": " is red"}
ASKED = [{"role": "user", "content": "the sky"}]
BLUE, RED = {"role": "assistant", "content": "is blue"}, {"role": "assistant", "content": "is red"}
TALK = {"prompt": ASKED, "chosen": [BLUE], "rejected": [RED]}
PLAIN = "{% for m in messages %}{{ m['content'] }} {% endfor %}"
WITH_END = (
    "{% for m in messages %}{{ m['content'] }}{% if m['role'] == 'assistant' %}{{ eos_token }}"
    "{% else %} {% endif %}{% endfor %}"
)


def tokens(rows, template=None, kinds=None, **limits):
    return inspect_tokens(rows, TokenizeConfig(tiny_tokenizer(chat_template=template), Limits(**limits)), kinds or {})


def checks(found):
    return {each.check: each for each in found.findings}


def test_text_on_a_model_with_a_template_is_a_warning():
    assert checks(tokens([TEXT], WITH_END, {"text": 1}))["no_template"].figures == {"rows": 1}
    assert not checks(tokens([TEXT], None, {"text": 1}))
    assert "no_template" not in checks(tokens([TALK], WITH_END, {"conversation": 1}))


def test_what_is_cut_is_counted_with_the_length_that_would_do():
    rows = [{"prompt_ids": [1] * at, "chosen_ids": [2] * 10, "rejected_ids": [3]} for at in range(1, 101)]
    found = inspect_tokens(rows, TokenizeConfig(None, Limits(max_length=50)), {})
    expected = prepare(rows, max_length=50).counts
    cut = checks(found)["cut_to_length"]
    assert cut.figures["rows"] == expected.truncated["max_length"] + 100 - expected.kept
    assert sum(len(row["prompt_ids"]) + 10 > cut.figures["needed"] for row in rows) == 1
    assert found.summary.counts == expected
    assert not checks(inspect_tokens(rows, TokenizeConfig(None, Limits()), {}))


def test_a_template_without_an_end_is_found():
    assert checks(tokens([TALK], PLAIN))["ends"].faults[0].endswith("completion has no end")
    assert "ends" not in checks(tokens([TALK], WITH_END))
    assert "ends" not in checks(tokens([TEXT]))


def test_an_end_that_is_there_twice_is_found():
    twice = WITH_END.replace("{{ eos_token }}", "{{ eos_token }}{{ eos_token }}")
    assert checks(tokens([TALK], twice))["ends"].faults[0].endswith("completion has an end twice")


def test_what_the_template_leaves_out_is_named():
    row = {**TALK, "prompt": [{"role": "system", "content": "never lie"}, *ASKED]}
    without = WITH_END.replace("for m in messages", "for m in messages if m['role'] != 'system'")
    found = checks(tokens([row], without))["left_out"]
    assert (found.level, found.figures["cause"], found.examples) == ("warning", "a system message", [0])


def test_the_first_pairs_are_shown_and_no_pair_is_an_error():
    found = tokens([TEXT])
    assert [preview.row for preview in found.summary.previews] == [0]
    assert set(checks(found)) <= set(CHECKS)
    with pytest.raises(DataError, match="no row is left"):
        tokens([{**TEXT, "chosen": ""}])
