"""Rows that cannot be read stop what reads them, with their number, or are left out and counted."""

import pytest

from easydel.data.bad_rows import BadRow, raised
from easydel.data.pair import Pair
from easydel.data.prepare import TokenizeConfig, prepare_with
from easydel.errors import DataError
from oracles.shares import together
from oracles.tokenizers import tiny_tokenizer

GOOD = [{"prompt": "say " * (1 + at % 3), "chosen": f"yes {at}", "rejected": "no"} for at in range(12)]
BAD = {
    "no dict": ("a line", "row 5 is of type str; a row must be a dict"),
    "no column": ({"text": "x"}, "row 5"),
    "a weight": (GOOD[5] | {"weight": -1}, "row 5: 'weight' is -1"),
    "an id": (
        {"prompt_ids": [1], "chosen_ids": [99_999], "rejected_ids": [2]},
        "row 5: chosen holds the token id 99999",
    ),
    "a text": (GOOD[5] | {"chosen": "\ud800"}, "row 5"),
    "a line of a file": (BadRow("a.jsonl, line 6: no JSON"), "a.jsonl, line 6: no JSON"),
}


def config(**options) -> TokenizeConfig:
    return TokenizeConfig(tiny_tokenizer(), vocab_size=5000, **options)


def without(pairs: list[Pair], number: int) -> list[Pair]:
    return [pair for pair in pairs if pair.index != number]


@pytest.fixture(params=BAD)
def bad(request) -> tuple[list, str]:
    row, words = BAD[request.param]
    return [*GOOD[:5], row, *GOOD[6:]], words


def test_a_bad_row_stops_with_its_number(bad):
    rows, words = bad
    with pytest.raises(DataError, match=words):
        prepare_with(config(), rows)


def test_bad_rows_that_are_skipped_are_counted_and_the_others_keep_their_numbers(bad):
    rows, words = bad
    with pytest.warns(UserWarning, match=rf"1 of 12 rows could not be read and are left out .*: {words}"):
        found = prepare_with(config(on_bad_row="skip"), rows)
    assert found.pairs == without(prepare_with(config(), GOOD).pairs, 5)
    assert (found.counts.rows, found.counts.dropped) == (12, {"could not be read": 1})
    assert words in found.counts.summary()
    assert words in found.counts.values()["unreadable"][0]


@pytest.mark.filterwarnings("ignore:1 of 12 rows could not be read")
def test_each_of_several_processes_skips_the_same_rows(bad):
    rows, _ = bad
    alone = prepare_with(config(on_bad_row="skip"), rows)
    skipping = config(on_bad_row="skip")
    assert together(2, lambda share: prepare_with(skipping, rows, share=share)) == [alone] * 2


@pytest.mark.filterwarnings("ignore:.* rows could not be read")
def test_the_first_reasons_are_kept_and_the_others_counted():
    found = prepare_with(config(on_bad_row="skip"), [*GOOD, *[{"text": at} for at in range(5)]])
    assert len(found.counts.unreadable) == 3
    assert found.counts.summary().endswith("And 2 more.")


def test_without_a_good_row_the_reason_is_in_the_error():
    with pytest.raises(DataError, match=r"no row is left: 0 of 2 rows kept.*2 .could not be read.*row 0"):
        prepare_with(config(on_bad_row="skip"), [{"text": "x"}] * 2)


def test_a_tokenizer_that_fails_names_the_row():
    tokenizer = tiny_tokenizer()

    class Failing:
        def __getattr__(self, name):
            return getattr(tokenizer, name)

        def __call__(self, texts, **options):
            if any("yes 7" in text for text in texts):
                raise OverflowError("too long for me")
            return tokenizer(texts, **options)

    with pytest.raises(DataError, match=r"row 7: the tokenizer cannot read its text .OverflowError: too long for me"):
        prepare_with(TokenizeConfig(Failing()), GOOD)
    with pytest.warns(UserWarning, match="1 of 12 rows could not be read"):
        found = prepare_with(TokenizeConfig(Failing(), on_bad_row="skip"), GOOD)
    assert [pair.index for pair in found.pairs] == [*range(7), *range(8, 12)]


@pytest.mark.filterwarnings("ignore:1 of 12 rows could not be read")
def test_a_row_that_was_skipped_is_not_in_the_cache_as_one_without_tokens(tmp_path, monkeypatch):
    monkeypatch.setattr("easydel.data.token_cache.MIN_ROWS", 1)
    rows = [*GOOD[:5], GOOD[5] | {"chosen": 3.5}, *GOOD[6:]]
    prepare_with(config(on_bad_row="skip", cache_directory=str(tmp_path)), rows)
    with pytest.raises(DataError, match="row 5"):
        prepare_with(config(cache_directory=str(tmp_path)), rows)


def test_rows_are_passed_on_up_to_the_first_bad_one():
    rows = raised([{"a": 1}, BadRow("line 2 is no row")])
    assert next(rows) == {"a": 1}
    with pytest.raises(DataError, match="line 2 is no row"):
        next(rows)
