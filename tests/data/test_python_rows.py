import sys

import numpy as np
import pytest

from easydel.data.prepare import prepare
from easydel.data.python_rows import as_rows
from easydel.errors import DataError
from oracles.tokenizers import tiny_tokenizer

ROWS = [
    {"prompt": "sky", "chosen": " blue", "rejected": " red"},
    {"prompt": "sea", "chosen": " red", "rejected": " blue"},
]
COLUMNS = {name: [row[name] for row in ROWS] for name in ROWS[0]}


def test_a_dict_of_columns_a_table_and_a_data_frame_are_the_rows_that_they_hold():
    import pandas
    import pyarrow
    from datasets import Dataset

    expected = prepare(ROWS, tiny_tokenizer())
    arrays = {name: np.array(values) for name, values in COLUMNS.items()}
    for given in (COLUMNS, arrays, pyarrow.table(COLUMNS), pandas.DataFrame(ROWS), Dataset.from_list(ROWS)):
        assert prepare(given, tiny_tokenizer()) == expected


def test_what_a_data_frame_lacks_is_absent():
    import pandas

    frame = pandas.DataFrame([ROWS[0] | {"weight": 0.5, "system": None}, ROWS[1]])
    assert prepare(frame, tiny_tokenizer()) == prepare([ROWS[0] | {"weight": 0.5}, ROWS[1]], tiny_tokenizer())


def test_messages_of_a_data_frame_read_from_parquet_are_lists(tmp_path):
    """pandas gives arrays for lists, and all keys of all rows."""
    import pandas

    said = [{"role": "user", "content": "sky"}]
    rows = [{"prompt": said, "chosen": [{"role": "assistant", "content": "blue"}], "rejected": "red"}]
    rows[0]["rejected"] = [{"role": "assistant", "content": "red", "name": None}]
    pandas.DataFrame(rows).to_parquet(tmp_path / "rows.parquet")
    tokenizer = tiny_tokenizer(chat_template="{% for m in messages %}{{ m.content }} {% endfor %}")
    assert prepare(pandas.read_parquet(tmp_path / "rows.parquet"), tokenizer) == prepare(rows, tokenizer)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("pairs.jsonl", "is the name of a dataset, not its rows"),
        (3, "rows of type int cannot be iterated over: give a list"),
        (
            {"train": ROWS, "test": ROWS},
            "the keys 'train', 'test' is not rows. Of a dict of splits, give one",
        ),
        (ROWS[0], "is a single row, or columns of which 'prompt' is not a list"),
        (
            COLUMNS | {"prompt": ["sky"]},
            "the columns differ in length: 'prompt' has 1, 'chosen' has 2, 'rejected' has 2",
        ),
    ],
)
def test_what_is_given_in_place_of_rows_is_said_to_be_that(given, message):
    with pytest.raises(DataError, match=message):
        as_rows(given)


def test_no_library_of_tables_is_imported_to_look_at_a_list():
    import subprocess

    code = (
        "import sys; from easydel.data.python_rows import as_rows; as_rows([]); "
        "print({'pandas', 'pyarrow'} & {*sys.modules})"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_rows_of_which_some_have_a_system_prompt_are_warned_of():
    rows = [{"prompt": "sky", "system": text, "chosen": "blue", "rejected": "red"} for text in ("", "Be kind.")]
    template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    with pytest.warns(
        UserWarning, match=r"rows with a system prompt, such as row 1, are read as conv.* row 0, as plain text"
    ):
        prepare(rows, tiny_tokenizer(chat_template=template))
