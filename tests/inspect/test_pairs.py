"""The rows that are inspected, and the prompts that are eval prompts."""

import json

import pytest

from easydel.data.bad_rows import BadRow
from easydel.errors import DataError
from easydel.inspect.pairs import Late, eval_prompts_of, open_pairs, open_rows
from oracles.row_files import write_numbered


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def opened(*names, **options):
    return open_pairs(
        names, options.pop("split", "train"), [None] * len(names), columns=options.pop("columns", {}), **options
    )


def test_datasets_follow_one_another_and_are_read_again(tmp_path):
    one, two = (str(write_numbered(tmp_path / name, 0, 3)) for name in ("a.jsonl", "b.parquet"))
    pairs = opened(one, two)
    for _ in range(2):
        assert [(row["prompt"], source) for row, source in pairs] == [
            (str(at), name) for name in (one, two) for at in range(3)
        ]


def test_samples_and_slices_are_taken_of_each(tmp_path):
    one, two = (str(write_numbered(tmp_path / name)) for name in ("a.csv", "b.jsonl"))
    assert [row["prompt"] for row, _ in opened(one, two, max_samples=2)] == ["0", "1"] * 2
    assert [row["prompt"] for row, _ in opened(one, split="train[4:6]")] == ["4", "5"]
    assert [row["prompt"] for row, _ in opened(one, split="train[80%:]")] == ["8", "9"]


def test_where_a_row_comes_from_is_in_the_column_with_such_a_name(tmp_path):
    row = {"prompt": "a", "chosen": "b", "rejected": "c"}
    name = write(tmp_path / "a.jsonl", {**row, "subset": "math", "model": "x"}, row)
    assert [source for _, source in opened(name)] == ["math", ""]
    assert [source for _, source in opened(name, source_column="model")] == ["x", ""]
    with pytest.raises(DataError, match="source_column = 'nope' names a column that the rows do not have"):
        opened(name, source_column="nope")


def test_no_rows_and_columns_that_are_not_there_are_errors(tmp_path):
    with pytest.raises(DataError, match="has no rows"):
        opened(write(tmp_path / "none.jsonl"))
    with pytest.raises(DataError, match="names a column that the rows do not have"):
        opened(str(write_numbered(tmp_path / "a.jsonl")), columns={"prompt": "question"})


def test_a_line_that_is_no_row_keeps_its_place(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"prompt": "a"}\nnot JSON\n{"prompt": "b"}\n')
    rows = list(open_rows(str(tmp_path / "a.jsonl"), "train"))
    assert [isinstance(row, BadRow) for row in rows] == [False, True, False]


@pytest.mark.parametrize(
    ("row", "asked"),
    [
        ({"prompt": "a?", "chosen": "b", "rejected": "c"}, "a?"),
        ({"question": "a?", "answer": "4"}, "a?"),
        ({"instruction": "add", "input": "1 and 2", "output": "3"}, "add\n1 and 2"),
        ({"problem": "a?"}, "a?"),
        ({"turns": ["a?", "b?"]}, "a?"),
        ({"turns": '["a?", "b?"]'}, "a?"),
        ({"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "a?"}]}, "a?"),
        ({"conversations": [{"from": "human", "value": "a?"}]}, "a?"),
    ],
)
def test_the_question_of_a_benchmark_is_found_by_its_names(row, asked):
    assert list(eval_prompts_of([row], {})) == [(0, asked)]


@pytest.mark.parametrize("row", [{"id": 1}, {"question": 3}, {"turns": []}, {"turns": [{"x": 1}]}, "text"])
def test_a_row_that_asks_nothing_is_left_out(row):
    assert list(eval_prompts_of([row], {})) == []


def test_what_is_opened_late_fails_when_it_is_read(tmp_path):
    late = Late(str(tmp_path / "nope.jsonl"))
    with pytest.raises(DataError, match="does not exist"):
        list(late)
