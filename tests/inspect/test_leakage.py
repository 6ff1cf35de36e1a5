"""Prompts that are eval prompts are found among the training pairs."""

import pytest

from easydel.inspect.leakage import EvalPrompts, leakage
from oracles.inspected import facts_of

LONG = "please tell me in a few short words why the sky over the sea is blue at noon and red at night"


def held(*prompts: str) -> EvalPrompts:
    found = EvalPrompts("eval")
    for row, prompt in enumerate(prompts):
        found.hold(row, prompt)
    return found


@pytest.mark.parametrize(
    ("asked", "kind"),
    [
        (LONG, "as it is"),
        (LONG.upper().replace(" ", "  ") + "?", "but for case and white space"),
        (f"You are a painter, so {LONG}, thank you", "by 8-grams"),
        (LONG.replace("and red at night", "and not in the evening"), "by 8-grams"),
    ],
)
def test_a_prompt_is_found_however_it_is_written(asked, kind):
    (found,) = leakage(facts_of(f"{asked}:b>c", "another:b>c", eval_prompts=[held("x", LONG)]))
    assert found.faults == {0: f"asks what row 1 of eval asks, {kind}"}
    assert (found.level, found.figures["prompts"], found.figures["of"]) == ("error", 1, 2)


def test_a_prompt_that_shares_less_than_half_is_another():
    words = LONG.split()
    asked = " ".join([*words[:10], *(f"word{at}" for at in range(12))])
    assert not list(leakage(facts_of(f"{asked}:b>c", eval_prompts=[held(LONG)])))


def test_short_prompts_of_one_template_are_not_the_same():
    eval_set = held("please help me with a thank you note to henry", "can you tell me what kind of thing a lute is")
    rows = [f"please help me with a thank you note to {name}:b>c" for name in ("anna", "otto")]
    assert not list(leakage(facts_of(*rows, eval_prompts=[eval_set])))
    (found,) = leakage(facts_of("oh please help me with a thank you note to henry now:b>c", eval_prompts=[eval_set]))
    assert list(found.faults) == [0]


def test_what_many_eval_prompts_of_share_tells_nothing():
    template = "below is an instruction that describes a task write a response that completes it and be kind about it"
    names = [f"{template} number {at} of all" for at in range(50)]
    rows = [f"{template} letter {letter} of all:b>c" for letter in "abc"]
    assert not list(leakage(facts_of(*rows, eval_prompts=[held(*names)])))


def test_the_first_turn_of_a_conversation_and_every_set_are_looked_at():
    one, other = held(LONG), EvalPrompts("benchmark")
    other.hold(7, LONG)
    found = list(leakage(facts_of(f"{LONG}:b>c", eval_prompts=[one, other])))
    assert [each.figures["set"] for each in found] == ["eval", "benchmark"]


def test_a_short_prompt_that_shares_nearly_all_does_not_hide_a_long_one():
    words = LONG.split()
    short = " ".join([*words[:12], "green"])
    asked = " ".join([*words[:18], "or", "not", "so"])
    (found,) = leakage(facts_of(f"{asked}:b>c", eval_prompts=[held(short, LONG)]))
    assert found.faults == {0: "asks what row 1 of eval asks, by 8-grams"}
