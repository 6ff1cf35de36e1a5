"""Findings as values, and their levels."""

import pytest

from easydel.inspect.findings import LEVELS, NEVER, Finding, in_rows, is_at_least


@pytest.mark.parametrize("at", range(len(LEVELS)))
def test_a_level_reaches_itself_and_those_below(at):
    assert [is_at_least(LEVELS[at], limit) for limit in LEVELS] == [limit <= at for limit in range(len(LEVELS))]
    assert not is_at_least(LEVELS[at], NEVER)


def test_a_finding_has_its_rows_in_order():
    finding = Finding("continued", "note", "text", {"rows": 2}, {7: "b", 3: "a"})
    assert finding.values()["faults"] == [{"row": 3, "why": "a"}, {"row": 7, "why": "b"}]
    assert (in_rows(1), in_rows(2)) == ("1 row", "2 rows")
