"""What wins whatever it says, against the definitions."""

import numpy as np
import pytest

from easydel.inspect.shortcuts import (
    Shortcut,
    auc,
    cohens_d,
    echoes,
    evening_threshold,
    refusals,
    shortcuts,
    shortcuts_of,
)
from oracles.inspected import facts_of


def test_auc_is_the_share_of_all_pairs_of_completions():
    rng = np.random.default_rng(0)
    chosen, rejected = rng.integers(0, 30, 40), rng.integers(0, 25, 40)
    wins = [(a > b) + 0.5 * (a == b) for a in chosen for b in rejected]
    assert auc(chosen, rejected) == pytest.approx(np.mean(wins), abs=1e-4)
    assert auc(chosen[:0], rejected[:0]) == 0.5


def test_cohens_d_is_the_difference_of_means_in_pooled_deviations():
    rng = np.random.default_rng(0)
    lengths = rng.integers(0, 100, (50, 2))
    pooled = np.sqrt((lengths[:, 0].var(ddof=1) + lengths[:, 1].var(ddof=1)) / 2)
    assert cohens_d(lengths) == pytest.approx((lengths[:, 0].mean() - lengths[:, 1].mean()) / pooled, abs=1e-3)
    assert cohens_d(lengths[:1]) == 0.0
    assert cohens_d(np.ones((5, 2), int)) == 0.0


def of_gaps(*gaps: int):
    return facts_of(*(f"p{at}:{'a' * (50 + gap)}>{'b' * 50}" for at, gap in enumerate(gaps)))


def test_the_threshold_leaves_as_many_longer_as_shorter_ones():
    found = evening_threshold(of_gaps(1, 5, 9, 20, 30, -3, -4, 0))
    assert found is not None
    assert found == ("chosen", 5, 5)
    assert evening_threshold(of_gaps(-1, -5, -9, 4)) == ("rejected", 1, 2)
    assert evening_threshold(of_gaps(1, -1)) is None
    assert evening_threshold(of_gaps(3, 4)) == ("chosen", 0, 0)


def test_length_stands_out_with_its_threshold():
    facts = of_gaps(*([10] * 80 + [-10] * 20))
    length = shortcuts_of(facts)[0]
    assert (length.name, length.rate, length.differ) == ("length", 0.8, 100)
    (found,) = shortcuts(facts)
    assert found.figures["threshold"] == {"side": "chosen", "characters": 10, "left": 100}
    assert found.examples == list(range(20))
    assert found.text.startswith("in 80% of the 100 pairs in which only one completion is longer, it is the chosen one")


@pytest.mark.parametrize(
    ("pairs", "differ", "wins", "out"),
    [
        (1000, 100, 60, False),
        (1000, 100, 70, True),
        (1000, 100, 30, True),
        (1000, 20, 20, False),
        (10_000, 100, 90, False),
    ],
)
def test_what_stands_out_is_beyond_chance_and_is_in_enough_pairs(pairs, differ, wins, out):
    assert Shortcut("lists", "", pairs, differ, wins).stands_out == out


def test_a_source_is_named_where_the_whole_does_not_stand_out():
    pairs = [f"p{at}:{'a' * (50 + (10 if at % 2 else -10))}>{'b' * 50}" for at in range(400)]
    pairs += [f"q{at}:{'a' * 60}>{'b' * 50}" for at in range(40)]
    found = list(shortcuts(facts_of(*pairs, sources="x" * 400 + "y" * 40)))
    assert [each.figures["source"] for each in found] == ["y"]
    assert set(found[0].examples) <= set(range(400, 440))
    everywhere = list(shortcuts(facts_of(*pairs[400:], *pairs[400:], sources="x" * 40 + "y" * 40)))
    assert [each.figures["source"] for each in everywhere] == [""]


def test_rows_that_repeat_the_prompt_or_refuse_are_named():
    prompt = "what is the capital of norway"
    facts = facts_of(f"{prompt}:{prompt}, oslo>oslo", f"{prompt}:i cannot say>oslo", f"{prompt}:oslo>i cannot say")
    assert [list(each.faults) for each in echoes(facts)] == [[0]]
    assert [list(each.faults) for each in refusals(facts)] == [[1]]
