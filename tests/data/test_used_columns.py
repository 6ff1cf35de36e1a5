"""Which columns rows were read from: through every form, in every process, and with token ids from the cache."""

import numpy as np
import pytest

from easydel.data import token_cache, tokenize_rows, used_columns
from easydel.data.counts import Tally
from easydel.data.pair import Limits
from easydel.data.prepare import TokenizeConfig
from easydel.data.used_columns import Columns, UsedColumns
from oracles.tokenizers import tiny_tokenizer

ROW = {"prompt": "a", "chosen": "b", "rejected": "c"}
USER, YES, NO = ({"role": r, "content": c} for r, c in (("user", "a"), ("assistant", "b"), ("assistant", "c")))


def columns_of(rows, columns=None) -> Columns:
    used = UsedColumns()
    for row in rows:
        used.add(row, columns or {})
    return used.found()


@pytest.mark.parametrize(
    ("row", "read", "ignored"),
    [
        (ROW | {"source": "a book", "id": 7}, "prompt chosen rejected", "source id"),
        ({"system": "x", "question": "a", "chosen": "b", "rejected": "c"}, "system question chosen rejected", ""),
        ({"chosen": [USER, YES], "rejected": [USER, NO], "score": 1.5}, "chosen rejected", "score"),
        (
            {"query": "a", "answers": [{"answer": "b", "rank": 1}, {"answer": "c", "rank": 2}], "turns": 1},
            "query answers",
            "turns",
        ),
        (
            {"prompt_ids": [1], "chosen_ids": np.array([2]), "rejected_ids": [3], "chosen_mask": [1], "prompt": "a"},
            "prompt_ids chosen_ids rejected_ids chosen_mask",
            "prompt",
        ),
    ],
)
def test_what_is_read_and_what_is_ignored_is_counted_by_row(row, read, ignored):
    found = columns_of([row, row])
    assert found == Columns(2, dict.fromkeys(read.split(), 2), dict.fromkeys(ignored.split(), 2), {})


def test_a_column_that_some_rows_are_read_from_is_counted_in_those():
    rows = [ROW | {"weight": 2.0, "note": None}, ROW | {"weight": None, "note": ""}, ROW | {"weight": ""}]
    found = columns_of([*rows, {"question": "a", "chosen": "b", "rejected": "c"}])
    assert found.read == {"prompt": 3, "chosen": 4, "rejected": 4, "weight": 1, "question": 1}
    assert found.ignored == {"note": 0}  # it holds nothing anywhere


def test_a_column_in_place_of_another_is_told_with_what_it_stands_for():
    rows = [{"ask": "a", "best": "b", "worst": "c", "context": "d"}]
    found = columns_of(rows, {"question": "ask", "chosen": "best", "rejected": "worst", "ignore": ["context"]})
    assert found.stands_for == {"ask": "question", "best": "chosen", "worst": "rejected"}
    assert (list(found.read), list(found.ignored)) == (["ask", "best", "worst"], ["context"])


def test_rows_of_ever_new_kinds_are_counted_as_those_of_few_and_not_kept(monkeypatch):
    rows = [ROW | {f"tag {at % 50}": at % 3 or None, "weight": at % 2 or None} for at in range(200)]
    expected = columns_of(rows)
    monkeypatch.setattr(used_columns, "_MOST_KINDS", 4)
    used = UsedColumns()
    for row in rows:
        used.add(row)
    assert used.found() == expected
    assert expected.read == {"prompt": 200, "chosen": 200, "rejected": 200, "weight": 100}
    assert (expected.ignored["tag 0"], expected.ignored["tag 1"]) == (2, 3)  # of 0, 50, 100, 150: 50 and 100
    assert len(used._counted[1]) <= 5


def test_a_row_that_cannot_be_read_is_left_to_who_reads_it():
    assert columns_of([{"prompt": "a"}, ROW]).rows == 1


ROWS = [ROW | {"weight": at, "source": "a book"} for at in range(20)]


def test_columns_and_examples_come_with_token_ids_from_the_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(token_cache, "MIN_ROWS", 1)
    found = []
    for _ in range(2):
        tally = Tally()
        config = TokenizeConfig(tiny_tokenizer(), Limits(max_length=4), cache_directory=str(tmp_path))
        list(config.pairs(ROWS, tally))
        found.append((tally.columns.found(), tally.examples.found(), tally.counts()))
        monkeypatch.setattr(tokenize_rows, "read_tokens", None)  # the second time nothing is tokenized
    assert found[0] == found[1]
    assert found[0][0].ignored == {"source": 20}
