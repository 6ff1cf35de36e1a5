"""Prepared pairs on the page: every token with what became of it."""

import pytest

from easydel.errors import DataError
from easydel.trainers.report.page import write_report
from oracles.pages import COUNTS, EVIL, page_of, write_run


def segment(kind, text, tokens=1, *, special=False):
    return {"kind": kind, "tokens": tokens, "text": text, "special": special}


COLUMNS = {"rows": 3, "read": {"prompt": 3, "w": 3}, "ignored": {"no\ud800te": 3}, "stands_for": {"w": "weight"}}


PREVIEW = {
    "row": 7,
    "reasons": ["the first row kept", "cut by max_length"],
    "prompt": [
        segment("cut", "too ", 9),
        segment("prompt", "<s>", special=True),
        segment("prompt", EVIL + "\nmore", 4),
    ],
    "chosen": [segment("trained", " blue\x1b"), segment("trained", "</s>", special=True)],
    "rejected": [segment("trained", " red"), segment("untrained", "user", 2), segment("trained", None, 30)],
    "weight": 0.5,
    "margin": 0.0,
}


def test_the_sides_of_a_prepared_pair_stand_beside_one_another_with_what_became_of_each_token(run):
    counts = COUNTS | {"columns": COLUMNS, "weights": [0.5, 1], "previews": [PREVIEW]}
    page = page_of(write_run(run, data={"train": counts, "eval": counts | {"previews": [PREVIEW | {"prompt": []}]}}))
    assert page.text.count("the first row kept, cut by max_length") == 2
    assert page.after("train, row 7, weight 0.5", 5) == [
        *("the first row kept, cut by max_length", "prompt, 5 tokens", "[cut, 9 tokens:", "too", "]")
    ]
    assert page.after("[cut, 9 tokens:", 5)[2:] == ["«<s>»", f"{EVIL}↵\nmore", "|"]
    assert [attrs["class"] for attrs in page.all("span") if "class" in attrs].count("cut") == 3  # of one set alone
    sides = page.after("rejected, 33 tokens", 7)
    assert sides == ["|", "red", "[no loss:", "user", "]", "[… 30 tokens …]", "eval, row 7, weight 0.5"]
    assert page.after("chosen, 2 tokens", 3) == ["|", "blue\\x1b", "«</s>»"]
    assert page.after("columns") == ["prompt, w as weight (0.5 to 1)"]
    assert page.after("columns ignored") == ["no\\ud800te"]
    assert "<script>alert" not in (run / "report.html").read_text(encoding="utf-8")
    assert len(page.all("script")) == len(page.all("figure")) + 1


@pytest.mark.parametrize(
    "damaged",
    [
        *({"previews": 3}, {"previews": [{"row": 1}]}, {"previews": [PREVIEW | {"chosen": [{"text": "a"}]}]}),
        *({"columns": {"rows": 3}}, {"columns": COLUMNS | {"read": {"a": "b"}}}, {"weights": ["a", "b"]}),
    ],
)
def test_pairs_that_were_damaged_are_an_error(damaged, run):
    write_run(run, data={"train": COUNTS | damaged})
    with pytest.raises(DataError, match="is not a JSON object with the counts of each dataset"):
        write_report(run)
