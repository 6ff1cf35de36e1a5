"""Rows held out of those that are trained on: the right ones, the same for all, and never trained on."""

import warnings

import datasets
import pytest

from easydel.data.held_out import Part, count_held_out, held_out, prepare_divided
from easydel.data.prepare import make_recipe, prepare_with
from easydel.data.share import ALONE
from easydel.errors import DataError
from oracles.shares import together
from oracles.tokenizers import tiny_tokenizer

LETTERS = "abcdefghijklmnopqrstuvwxyz"  # the tokenizer knows no digits
ROWS = [
    {"prompt": f"ab {LETTERS[at]}", "chosen": f"yes {at}", "rejected": "no", "weight": 1 + at / 8} for at in range(20)
]
TEMPLATE = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"


def divided(rows, size, seed=0, share=ALONE, **limits) -> tuple[Part, Part, tuple[int, ...]]:
    train, held, which = prepare_divided(make_recipe(tiny_tokenizer(), **limits), rows, size, seed, share=share)
    return train, held, which.numbers


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
    assert count_held_out(size, rows) == expected


@pytest.mark.parametrize("size", [0.1, 0.25, 5, 19])
def test_every_row_is_either_trained_on_or_held_out(size):
    train, held, numbers = divided(ROWS, size)
    assert len(held.pairs) == count_held_out(size, 20)
    assert [pair.index for pair in held.pairs] == list(numbers)
    everything = prepare_with(make_recipe(tiny_tokenizer()), ROWS).pairs
    assert sorted([*train.pairs, *held.pairs], key=lambda pair: pair.index) == everything
    assert (train.tally.rows, held.tally.rows) == (20 - len(numbers), len(numbers))
    assert held.tally.columns.found().rows == len(numbers)
    assert held.tally.counts().weights == (1 + numbers[0] / 8, 1 + numbers[-1] / 8)


def test_the_seed_says_which_rows_and_all_come_to_be_chosen():
    taken = [set(held_out(range(20), 5, seed)) for seed in range(100)]
    assert taken[3] == set(held_out(range(20), 5, 3))
    assert len(set(map(frozenset, taken))) > 90
    assert set().union(*taken) == set(range(20))


def test_equal_rows_are_held_out_through_every_door():
    as_messages = [
        {"prompt": [{"role": "user", "content": row["prompt"]}], "chosen": row["chosen"], "rejected": row["rejected"]}
        for row in ROWS
    ]
    columns = {name: [row[name] for row in as_messages] for name in as_messages[0]}
    recipe = make_recipe(tiny_tokenizer(chat_template=TEMPLATE))
    doors = (as_messages, datasets.Dataset.from_list(as_messages), columns, iter(as_messages))
    found = [prepare_divided(recipe, rows, 0.3, 7)[:2] for rows in doors]
    assert all([part.pairs for part in each] == [part.pairs for part in found[0]] for each in found)
    assert [pair.index for pair in found[0][1].pairs] == list(divided(ROWS, 0.3, 7)[2])


@pytest.mark.parametrize("count", [2, 3])
def test_every_process_holds_out_the_same_rows(count):
    [expected] = together(1, lambda share: divided(ROWS, 0.3, share=share))
    assert together(count, lambda share: divided(ROWS, 0.3, share=share)) == [expected] * count


def test_the_rows_of_a_prompt_stay_together():
    prompts = "aabbccddee"
    for seed in range(10):
        numbers = held_out(prompts, 4, seed)
        assert len(numbers) == 4
        assert not {prompts[at] for at in numbers} & {prompts[at] for at in range(10) if at not in numbers}
    assert len(held_out(prompts, 3, 0)) == 2  # a second prompt would make it four
    assert held_out("aaaaaaab", 5, 0) == [7]


def test_the_prompt_of_a_row_is_what_it_asks_in_whatever_form():
    rows = [{"prompt": f"ab {LETTERS[at // 2]}", "chosen": f"yes {at}", "rejected": "no"} for at in range(20)]
    rows = [row if at % 2 else {"chosen": row["prompt"] + row["chosen"], **row} for at, row in enumerate(rows)]
    train, held, _ = divided(rows, 0.2)
    assert len(held.pairs) == 4
    assert not {tuple(pair.prompt) for pair in train.pairs} & {tuple(pair.prompt) for pair in held.pairs}


def test_rows_of_one_prompt_alone_are_divided_with_a_warning():
    with pytest.warns(UserWarning, match="each prompt has more than the 2 rows to hold out"):
        assert len(held_out("aaaaabbbbb", 2, 0)) == 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(held_out("abababab", 4, 0)) == 4


@pytest.mark.parametrize("size", [20, 21, 0.96])
def test_no_row_to_train_on_is_an_error(size):
    with pytest.raises(DataError, match=rf"test_split_size = {size:g} would hold out 2\d of 20 rows"):
        divided(ROWS, size)


def test_dropped_rows_are_counted_where_they_belong():
    rows = [{**row, "chosen": ""} if at % 2 else row for at, row in enumerate(ROWS)]
    train, held, numbers = divided(rows, 10)
    assert held.tally.kept == sum(at % 2 == 0 for at in numbers)
    assert train.tally.kept + held.tally.kept == 10
    empty = [{**row, "chosen": "" if at in numbers else "yes"} for at, row in enumerate(ROWS)]
    with pytest.raises(DataError, match=r"of the 10 rows held out \(test_split_size 10\) no row is left: 0 of 10"):
        divided(empty, 10)
