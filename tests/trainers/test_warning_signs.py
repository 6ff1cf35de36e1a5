"""Signs that a run goes wrong, each on curves that have it and on those of a healthy run."""

import math
import re
from pathlib import Path
from typing import Any

import pytest

from easydel.trainers.options.run import SIGNS as MEANINGS
from easydel.trainers.warning_signs import SIGNS, LengthRule, Seen, repeated_share

pytestmark = pytest.mark.quick
BETA, STEPS = 0.1, 100


def seen(lines: list[dict[str, Any]], *, step: int = STEPS, **others: Any) -> Seen:
    """What a run of 100 steps has shown after lines at even distances."""
    every = step // max(len(lines), 1)
    entries = [{"step": every * (at + 1), **line} for at, line in enumerate(lines)]
    return Seen(step, STEPS, entries, BETA, **{"length_rules": {"eval": LengthRule(200, 0.55)}} | others)


def curve(**values: list[float]) -> list[dict[str, float]]:
    """Lines of a log from curves, `/` and `_` as in `rewards_margins`."""
    names = {name: name.replace("__", "/") for name in values}
    return [
        {names[name]: value for name, value in zip(values, line, strict=True)}
        for line in zip(*values.values(), strict=True)
    ]


def signs_of(it: Seen) -> set[str]:
    """The signs that are seen."""
    return {name for name, look in SIGNS.items() if look(it)}


HEALTHY = curve(
    loss=[0.69, 0.6, 0.5, 0.4, 0.35, 0.3, 0.28, 0.26],
    eval_loss=[0.693, 0.6, 0.52, 0.45, 0.40, 0.38, 0.37, 0.37],
    rewards__chosen=[0.0, 0.1, 0.0, -0.1, -0.2, -0.2, -0.3, -0.3],
    rewards__rejected=[0.0, -0.2, -0.5, -0.8, -1.0, -1.2, -1.3, -1.4],
    rewards__margins=[0.0, 0.3, 0.5, 0.7, 0.8, 1.0, 1.0, 1.1],
    rewards__accuracies=[0.0, 0.6, 0.7, 0.8, 0.85, 0.9, 0.9, 0.9],
    eval_rewards__accuracies=[0.0, 0.6, 0.7, 0.8, 0.8, 0.85, 0.85, 0.85],
    eval_logps__chosen=[-60.0, -59.0, -60.0, -61.0, -62.0, -62.0, -63.0, -63.0],
    logps__chosen=[-60.0, -50.0, -70.0, -61.0, -64.0, -59.0, -63.0, -66.0],
    grad_norm=[5.0, 6.0, 4.0, 4.0, 3.0, 3.0, 2.0, 2.0],
    learning_rate=[1e-5] * 8,
)


def changed(lines: list[dict[str, float]], name: str, values: list[float]) -> list[dict[str, float]]:
    return [{**line, name: value} for line, value in zip(lines, values, strict=True)]


def test_a_healthy_run_shows_none():
    assert signs_of(seen(HEALTHY)) == set()


def test_no_run_shows_any_before_it_has_logged():
    assert signs_of(seen([])) == set()
    assert signs_of(seen(HEALTHY[:1], step=1)) == set()


def test_every_sign_has_a_meaning_for_stop_on():
    assert list(SIGNS) == list(MEANINGS)


def test_the_page_of_curves_has_every_sign():
    page = (Path(__file__).parents[2] / "docs" / "curves.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)` \| ", page.partition("| sign |")[2], re.MULTILINE) == list(SIGNS)


def test_chosen_completions_that_fall_with_the_margin_rising_show_by_the_pairs_of_an_eval_set():
    fallen = changed(HEALTHY, "eval_logps/chosen", [-60, -60, -70, -80, -85, -90, -91, -92])
    assert signs_of(seen(fallen)) == {"chosen_falling"}
    # One that falls in a single evaluation may come back.
    assert signs_of(seen(changed(HEALTHY, "eval_logps/chosen", [-60] * 7 + [-95]))) == set()


def test_chosen_completions_that_fall_show_by_their_rewards_where_nothing_is_evaluated():
    lines = changed(HEALTHY, "rewards/chosen", [0.0, -1, -2, -3, -4, -5, -6, -6])
    lines = changed(lines, "logps/chosen", [-60, -70, -80, -90, -100, -110, -120, -120])
    assert signs_of(seen(lines, length_rules={})) == {"chosen_falling"}
    assert signs_of(seen(HEALTHY, length_rules={})) == set()
    # The rewards of a run without a reference are no change.
    assert signs_of(seen(lines, length_rules={}, fixed_reference=False)) == set()


def test_chosen_completions_may_fall_where_the_margin_does_not_rise():
    lines = changed(HEALTHY, "eval_logps/chosen", [-60, -60, -70, -80, -85, -90, -91, -92])
    assert signs_of(seen(changed(lines, "rewards/margins", [0.5] + [0.4] * 7))) == set()


def test_saturated_margins_need_pairs_that_are_won_and_no_gradient():
    flat = changed(HEALTHY, "grad_norm", [5.0, 6.0, 4.0, 4.0, 1.0, 0.02, 0.01, 0.03])
    assert signs_of(seen(flat)) == set()  # that may be a plateau
    won = changed(flat, "rewards/accuracies", [0.0, 0.6, 0.7, 0.8, 0.99, 1.0, 1.0, 1.0])
    assert signs_of(seen(won)) == {"margins_saturated"}


def test_overfitting_is_an_eval_loss_that_rises_twice_while_training_goes_on():
    rising = changed(HEALTHY, "eval_loss", [0.693, 0.6, 0.5, 0.45, 0.44, 0.44, 0.46, 0.48])
    assert signs_of(seen(rising)) == {"overfitting"}
    once = changed(HEALTHY, "eval_loss", [0.693, 0.6, 0.5, 0.45, 0.44, 0.46, 0.45, 0.48])
    assert signs_of(seen(once)) == set()
    tiny = changed(rising, "eval_loss", [0.693, 0.1, 1e-5, 1e-6, 1e-6, 1e-6, 2e-6, 3e-6])
    assert signs_of(seen(tiny)) == set()  # that is nothing beside the loss at first
    both = changed(rising, "loss", [0.69, 0.6, 0.5, 0.4, 0.3, 0.4, 0.5, 0.5])
    assert signs_of(seen(both)) == set()


def test_accuracy_within_noise_of_what_length_alone_gives_shows_in_the_second_half():
    rule = {"eval": LengthRule(200, 0.82)}  # two standard errors are 0.054
    assert signs_of(seen(HEALTHY, length_rules=rule)) == {"length_only"}
    assert signs_of(seen(HEALTHY, step=40, length_rules=rule)) == set()
    assert signs_of(seen(HEALTHY, length_rules={"eval": LengthRule(20, 0.82)})) == set()  # too few to say
    assert signs_of(seen(HEALTHY, length_rules={"eval": LengthRule(2000, 0.82)})) == set()  # less noise


def answers(first: str, last: str, prompts: int = 10) -> list[dict[str, Any]]:
    return [
        {"step": step, "prompt": str(prompt), "answer": answer}
        for step, answer in ((0, first), (100, last))
        for prompt in range(prompts)
    ]


WORDS = "one two three four five six seven eight nine ten"


def test_answers_that_grow_by_a_fifth_show():
    assert signs_of(seen(HEALTHY, answers=answers(WORDS, f"{WORDS} and more words"))) == {"answers_longer"}
    assert signs_of(seen(HEALTHY, answers=answers(WORDS, f"{WORDS} more"))) == set()
    assert signs_of(seen(HEALTHY, answers=answers(WORDS, f"{WORDS} and more words", prompts=3))) == set()


def test_answers_that_grow_no_more_than_their_noise_do_not_show():
    noisy = answers(WORDS, WORDS)
    noisy[10]["answer"] = " ".join([WORDS, *map(str, range(40))])  # one of ten: 4 words more on average
    assert signs_of(seen(HEALTHY, answers=noisy)) == set()


def test_answers_that_repeat_themselves_show_unless_they_did_at_first():
    again = "so it goes and so it goes and so it goes"
    assert signs_of(seen(HEALTHY, answers=answers(WORDS, again))) == {"answers_repeat"}
    assert signs_of(seen(HEALTHY, answers=answers(again, again))) == set()
    assert repeated_share("") == repeated_share("two words") == 0.0


def test_a_gradient_many_times_those_before_shows_with_its_step():
    norms = [(step, 1.0 + 0.5 * (step % 3)) for step in range(1, 31)]
    it = seen(HEALTHY, grad_norms=[*norms, (31, 11.0)])
    assert signs_of(it) == {"gradient_spike"}
    assert "step 31 is 11, 5.5 times the greatest of the 30 steps" in SIGNS["gradient_spike"](it)
    assert signs_of(seen(HEALTHY, grad_norms=[*norms, (31, 9.0)])) == set()
    assert signs_of(seen(HEALTHY, grad_norms=[*norms[:5], (6, 11.0)])) == set()  # the first steps say little


def test_a_loss_that_is_exactly_that_of_the_first_step_after_updates_shows():
    still = changed(changed(HEALTHY, "rewards/chosen", [0.0] * 8), "rewards/rejected", [0.0] * 8)
    still = changed(still, "loss", [math.log(2)] * 8)
    assert "nothing_learned" in signs_of(seen(still))
    assert "0.693147" in SIGNS["nothing_learned"](seen(still))
    assert signs_of(seen(still[:1], step=2)) == set()  # the rate of the first step may be 0
    assert "nothing_learned" not in signs_of(seen(changed(still, "learning_rate", [0.0] * 8)))
    assert "nothing_learned" not in signs_of(seen(changed(still, "rewards/chosen", [0.0] * 7 + [1e-7])))


def test_adapters_that_did_not_move_are_named():
    it = seen(HEALTHY, unmoved=["layers.query.lora_b"])
    assert signs_of(it) == {"adapters_unmoved"}
    assert "layers.query.lora_b" in SIGNS["adapters_unmoved"](it)


def test_values_that_are_not_finite_or_missing_count_as_not_measured():
    assert signs_of(seen(changed(HEALTHY, "eval_loss", [math.nan] * 8))) == set()
    assert signs_of(seen(changed(HEALTHY, "eval_loss", [None] * 8))) == set()  # as metrics.jsonl has them
