"""The table of checks."""

import pytest

from easydel.inspect import checks
from easydel.inspect.checks import CHECKS, Check, findings_of
from easydel.inspect.findings import LEVELS, Finding
from oracles.inspected import facts_of

SETTINGS = {"similarity": 0.8, "most": 1}


def test_a_new_check_is_a_function_and_a_row(monkeypatch):
    def short(facts, least):
        yield Finding("short", "error", "too short", faults={int(row): "short" for row in facts.numbers[:least]})

    monkeypatch.setattr(checks, "CHECKS", CHECKS | {"short": Check("short answers", short, ("least",))})
    found = findings_of(facts_of("a:b>c", "a:c>b"), SETTINGS | {"least": 1})
    assert [each.check for each in found] == ["contradictions", "short", "many_for_a_prompt", "both_sides"]


def test_the_gravest_come_first():
    found = findings_of(facts_of("a:b>c", "a:c>b", "a:d>d x"), SETTINGS)
    ranks = [LEVELS.index(each.level) for each in found]
    assert ranks == sorted(ranks, reverse=True)
    assert len(set(ranks)) == 3


@pytest.mark.parametrize("name", CHECKS)
def test_a_check_of_no_rows_finds_nothing(name):
    check = CHECKS[name]
    assert not list(check.find(facts_of(), **{setting: SETTINGS[setting] for setting in check.settings}))
    assert check.words
