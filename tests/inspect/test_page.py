"""The page about pairs shows each finding with rows behind it, and no text of a row becomes markup."""

import re

from easydel.data.pair import Limits
from easydel.data.prepare import TokenizeConfig
from easydel.inspect.inspection import inspect_pairs, not_inspected
from easydel.inspect.page import write_inspect_page
from easydel.inspect.tokens import inspect_tokens
from oracles.pages import EVIL
from oracles.planted import Words
from oracles.tokenizers import tiny_tokenizer


def page_of(rows, tmp_path, change=lambda found: found):
    pairs = [(row, "") for row in rows]
    found = change(inspect_pairs(pairs, names=["folder/mine.jsonl"]))
    return write_inspect_page(tmp_path / "inspect.html", found, pairs, {}).read_text(encoding="utf-8")


def test_rows_behind_a_finding_are_shown_with_why(tmp_path):
    words = Words(0)
    rows = [words.row() for _ in range(4)]
    text = page_of([*rows, rows[1]], tmp_path)
    assert "<h1>mine.jsonl</h1>" in text
    assert "<summary>rows 4</summary>" in text
    assert "row 4: is row 1 again" in text
    assert rows[1]["chosen"] in text
    assert rows[0]["chosen"] not in text


def test_texts_are_escaped_and_long_ones_cut(tmp_path):
    row = {"prompt": EVIL, "chosen": EVIL + "x" * 2000, "rejected": EVIL}
    text = page_of([row, row], tmp_path)
    assert EVIL not in text
    assert "x" * 700 not in text


def test_what_could_not_be_inspected_and_tokens_are_on_the_page(tmp_path):
    rows = [Words(0).row()]
    plain = page_of(rows, tmp_path, lambda found: found.with_findings([not_inspected("eval", "it is gone", "warning")]))
    assert "eval: it is gone" in plain
    assert "Pairs as they are trained" not in plain
    config = TokenizeConfig(tiny_tokenizer(), Limits(max_length=8, truncation_mode="keep_end"))
    shown = page_of(rows, tmp_path, lambda found: found.with_tokens(inspect_tokens(rows, config, found.facts.kinds)))
    assert "Pairs as they are trained" in shown
    assert re.search(r"<th scope=\"row\">max_length</th>", shown)


def test_nothing_found_is_said(tmp_path):
    text = page_of([Words(0).row()], tmp_path, lambda found: found._replace(findings=[]))
    assert "Nothing was found." in text
