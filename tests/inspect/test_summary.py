"""An inspection as lines for people."""

from easydel.inspect.inspection import inspect_pairs
from easydel.inspect.marks import MARKS
from easydel.inspect.summary import summary
from oracles.planted import Words


def test_every_finding_is_a_line_and_every_source_a_row():
    words = Words(0)
    rows = [words.row() for _ in range(20)]
    rows += rows[:8]
    text = summary(inspect_pairs([(row, "ab"[at % 2]) for at, row in enumerate(rows)], names=["x.jsonl"]))
    assert text.startswith(
        "pairs       28 in 28 rows of x.jsonl\nread as     28 text\ncolumns     prompt, chosen, rejected;"
    )
    said = "an earlier row again, but for case and white space: 8 rows (rows 20, 21, 22, 23, 24, 25 and 2 more)"
    assert f"warning  same_pairs         {said}" in text
    table = text.partition("how often it is chosen")[2].splitlines()
    assert table[1].split() == ["pairs", "longer", *MARKS, "words", "alone"]
    assert [line.split()[:2] for line in table[2:]] == [["all", "pairs"], ["a", "14"], ["b", "14"]]


def test_nothing_found_and_no_pairs_are_said(monkeypatch):
    monkeypatch.setattr("easydel.inspect.inspection.missing_extras", lambda: ())
    words = Words(0)
    assert "\n\nnothing was found\n\n" in summary(inspect_pairs([(words.row(), "")]))
    none = summary(inspect_pairs([({"prompt": "a", "chosen": "b", "rejected": ""}, "")]))
    assert "0 in 1 rows" in none
    assert "how often" not in none


def test_what_rows_say_moves_no_cursor():
    row = {"prompt": "a", "chosen": "b", "rejected": "c", "prompt\x1b[2J": "x"}
    assert "\x1b" not in summary(inspect_pairs([(row, "s\x1b")]))
