"""Eval rows out of those to train on: the right ones, the same for all, and never trained on."""

import warnings

import datasets
import pytest

from easydel.data.eval_split import Part, count_eval_rows, eval_rows, prepare_split
from easydel.data.pair import Limits
from easydel.data.prepare import TokenizeConfig, prepare_with
from easydel.data.share import ALONE
from easydel.errors import DataError
from oracles.shares import together
from oracles.tokenizers import tiny_tokenizer

LETTERS = "abcdefghijklmnopqrstuvwxyz"  # the tokenizer knows no digits
ROWS = [
    {"prompt": f"ab {LETTERS[at]}", "chosen": f"yes {at}", "rejected": "no", "weight": 1 + at / 8} for at in range(20)
]
TEMPLATE = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"


def split(rows, size, seed=0, share=ALONE, **limits) -> tuple[Part, Part, tuple[int, ...]]:
    train, evaluated, which = prepare_split(
        TokenizeConfig(tiny_tokenizer(), Limits(**limits)), rows, size, seed, share=share
    )
    return train, evaluated, which.numbers


@pytest.mark.parametrize(
    ("size", "rows", "expected"),
    [
        (0.1, 20, 2),
        (0.1, 21, 3),  # 2.1 rows, up as in `datasets`
        (0.07, 100, 7),  # in floating point 7.000000000000001
        (0.29, 100, 29),
        (0.999, 20, 20),
        (1e-6, 20, 1),
        (1.0, 20, 1),
        (7.0, 20, 7),
    ],
)
def test_a_share_is_rounded_up_and_a_number_is_one_of_rows(size, rows, expected):
    assert count_eval_rows(size, rows) == expected


@pytest.mark.parametrize("size", [0.1, 0.25, 5, 19])
def test_every_row_is_either_trained_on_or_an_eval_row(size):
    train, evaluated, numbers = split(ROWS, size)
    assert len(evaluated.pairs) == count_eval_rows(size, 20)
    assert [pair.index for pair in evaluated.pairs] == list(numbers)
    everything = prepare_with(TokenizeConfig(tiny_tokenizer()), ROWS).pairs
    assert sorted([*train.pairs, *evaluated.pairs], key=lambda pair: pair.index) == everything
    assert (train.tally.rows, evaluated.tally.rows) == (20 - len(numbers), len(numbers))
    assert evaluated.tally.columns.found().rows == len(numbers)
    assert evaluated.tally.counts().weights == (1 + numbers[0] / 8, 1 + numbers[-1] / 8)


def test_the_seed_says_which_rows_and_all_come_to_be_chosen():
    taken = [set(eval_rows(range(20), 5, seed)) for seed in range(100)]
    assert taken[3] == set(eval_rows(range(20), 5, 3))
    assert len(set(map(frozenset, taken))) > 90
    assert set().union(*taken) == set(range(20))


def test_equal_rows_are_split_alike_through_every_door():
    as_messages = [
        {"prompt": [{"role": "user", "content": row["prompt"]}], "chosen": row["chosen"], "rejected": row["rejected"]}
        for row in ROWS
    ]
    columns = {name: [row[name] for row in as_messages] for name in as_messages[0]}
    config = TokenizeConfig(tiny_tokenizer(chat_template=TEMPLATE))
    doors = (as_messages, datasets.Dataset.from_list(as_messages), columns, iter(as_messages))
    found = [prepare_split(config, rows, 0.3, 7)[:2] for rows in doors]
    assert all([part.pairs for part in each] == [part.pairs for part in found[0]] for each in found)
    assert [pair.index for pair in found[0][1].pairs] == list(split(ROWS, 0.3, 7)[2])


@pytest.mark.parametrize("count", [2, 3])
def test_every_process_has_the_same_eval_rows(count):
    [expected] = together(1, lambda share: split(ROWS, 0.3, share=share))
    assert together(count, lambda share: split(ROWS, 0.3, share=share)) == [expected] * count


def test_the_rows_of_a_prompt_stay_together():
    prompts = "aabbccddee"
    for seed in range(10):
        numbers = eval_rows(prompts, 4, seed)
        assert len(numbers) == 4
        assert not {prompts[at] for at in numbers} & {prompts[at] for at in range(10) if at not in numbers}
    assert len(eval_rows(prompts, 3, 0)) == 2  # a second prompt would make it four
    assert eval_rows("aaaaaaab", 5, 0) == [7]


def test_the_prompt_of_a_row_is_what_it_asks_in_whatever_form():
    rows = [{"prompt": f"ab {LETTERS[at // 2]}", "chosen": f"yes {at}", "rejected": "no"} for at in range(20)]
    rows = [row if at % 2 else {"chosen": row["prompt"] + row["chosen"], **row} for at, row in enumerate(rows)]
    train, evaluated, _ = split(rows, 0.2)
    assert len(evaluated.pairs) == 4
    assert not {tuple(pair.prompt) for pair in train.pairs} & {tuple(pair.prompt) for pair in evaluated.pairs}


def test_rows_of_one_prompt_alone_are_divided_with_a_warning():
    with pytest.warns(UserWarning, match="every prompt has more rows than the 2 that test_split_size takes"):
        assert len(eval_rows("aaaaabbbbb", 2, 0)) == 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(eval_rows("abababab", 4, 0)) == 4


@pytest.mark.parametrize("size", [20, 21, 0.96])
def test_no_row_to_train_on_is_an_error(size):
    with pytest.raises(DataError, match=rf"test_split_size = {size:g} takes 2\d of 20 rows for evaluation"):
        split(ROWS, size)


def test_dropped_rows_are_counted_where_they_belong():
    rows = [{**row, "chosen": ""} if at % 2 else row for at, row in enumerate(ROWS)]
    train, evaluated, numbers = split(rows, 10)
    assert evaluated.tally.kept == sum(at % 2 == 0 for at in numbers)
    assert train.tally.kept + evaluated.tally.kept == 10
    empty = [{**row, "chosen": "" if at in numbers else "yes"} for at, row in enumerate(ROWS)]
    with pytest.raises(DataError, match=r"of the 10 eval rows \(test_split_size 10\) no row is left: 0 of 10"):
        split(empty, 10)
