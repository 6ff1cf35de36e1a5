"""Rows that several processes tokenize together: each its share, and all get the same pairs."""

import os

import pytest

from easydel.data import row_chunks, tokenize_rows
from easydel.data.counts import Tally
from easydel.data.pair import Limits
from easydel.data.prepare import Prepared, TokenizeConfig, prepare_with
from easydel.data.share import Share
from oracles.shares import together
from oracles.tokenizers import tiny_tokenizer

ROWS = [{"prompt": "ab " * (1 + at % 3), "chosen": f"yes {at}", "rejected": "no", "weight": at / 8} for at in range(20)]


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_chunks, "ROWS_AT_ONCE", 3)
    monkeypatch.setattr(tokenize_rows, "ROWS_AT_ONCE", 3)


@pytest.mark.parametrize("count", [2, 3, 9])
def test_the_shares_of_several_processes_are_the_pairs_of_one(count, monkeypatch):
    expected = prepare_with(TokenizeConfig(tiny_tokenizer(), Limits(max_length=20)), ROWS)
    rows_read: list[int] = []
    real = tokenize_rows.read_tokens

    def counted(rows, first, tokenizer):
        rows_read.extend(range(first, first + len(rows)))
        return real(rows, first, tokenizer)

    monkeypatch.setattr(tokenize_rows, "read_tokens", counted)

    def work(share: Share) -> Prepared:
        return prepare_with(TokenizeConfig(tiny_tokenizer(), Limits(max_length=20)), ROWS, share=share)

    assert together(count, work) == [expected] * count
    assert sorted(rows_read) == list(range(len(ROWS)))  # each row once, by one of them


@pytest.mark.parametrize("count", [2, 3])
def test_each_process_knows_the_columns_examples_and_counts_of_all_rows(count):
    # The prompt of row 13 ends in a token that its answers change, and with its answers each is cut.
    rows = [*ROWS[:13], {"prompt": "xa", "chosen": "b" * 30, "rejected": "c", "source": 3}, *ROWS]

    def work(share: Share) -> object:
        tally = Tally()
        prepare_with(TokenizeConfig(tiny_tokenizer(bos=False), Limits(max_length=20)), rows, share=share, tally=tally)
        return tally.columns.found(), tally.examples.found(), tally.counts()

    [expected] = together(1, work)
    assert (expected[0].ignored, expected[2].most_merged_row) == ({"source": 1}, 13)
    assert [example.pair.index for example in expected[1]] == [0, 13]
    assert together(count, work) == [expected] * count


def test_what_is_wrong_with_the_rows_of_one_process_ends_all_of_them():
    rows = [*ROWS[:7], {"prompt": 3, "chosen": "a", "rejected": "b"}, *ROWS]
    config = TokenizeConfig(tiny_tokenizer())
    found = together(3, lambda share: prepare_with(config, rows, share=share))
    assert len(set(found)) == 1
    assert str(found[0]).startswith("row 7: 'prompt'")


class Deadly:
    """What ends the process that unpickles it."""

    def __reduce__(self):
        return os._exit, (1,)


def test_a_tokenising_worker_that_dies_ends_all_processes():
    deadly = tiny_tokenizer()
    deadly.own = Deadly()

    def work(share: Share) -> Prepared:
        config = TokenizeConfig(deadly, dataset_num_proc=2) if share.number == 1 else TokenizeConfig(tiny_tokenizer())
        return prepare_with(config, ROWS, share=share)

    found = together(2, work)
    assert len(set(found)) == 1
    assert str(found[0]).startswith("a process of dataset_num_proc = 2 ended before its work.")


def test_all_read_the_rows_that_the_pairs_asked_for_need_and_no_more():
    """Every third row has no pair: in the first round seven rows are read, and then what is missing."""
    rows = [
        row if at % 3 else {"prompt_ids": [1], "chosen_ids": [], "rejected_ids": [2]} for at, row in enumerate(ROWS)
    ]
    config = TokenizeConfig(tiny_tokenizer())
    alone = prepare_with(config, rows, max_pairs=7)
    assert [pair.index for pair in alone.pairs] == [1, 2, 4, 5, 7, 8, 10]
    assert alone.counts.rows == 11
    assert together(2, lambda share: prepare_with(config, rows, share=share, max_pairs=7)) == [alone] * 2


def test_processes_that_tokenize_read_no_more_either():
    asked = []
    rows = (asked.append(at) or row for at, row in enumerate(ROWS * 10))
    found = prepare_with(TokenizeConfig(tiny_tokenizer(), dataset_num_proc=2), rows, max_pairs=9)
    assert found == prepare_with(TokenizeConfig(tiny_tokenizer()), ROWS[:9])
    assert len(asked) == 9
