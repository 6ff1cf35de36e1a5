"""Lists that stand as text: in JSON, as Python writes them, and as numpy does, which `datasets` puts into csv files."""

import numpy as np
import pytest

from easydel.data.plain_values import plain
from easydel.data.text_literals import parsed, spelled_out

TEXTS = ["it's", 'a "b"', "c} {d", "e]\n['f'", "array([g, dtype=object)", "h  i"]


@pytest.mark.parametrize(
    "value",
    [
        TEXTS,
        [{"role": "user", "content": text} for text in TEXTS],
        [{"content": np.array([{"text": text}, None], dtype=object)} for text in TEXTS],
        [np.array(["a", "b"], dtype=object), np.array(["c"], dtype=object)],
        {"messages": np.array([{"a": {"b": np.array([], dtype=object)}}, {"a": -1}], dtype=object), "x": True},
        [1, -2.5, 3],
    ],
)
def test_what_python_and_numpy_write_is_read_as_it_was(value):
    expected = plain(value, "row 0")
    assert spelled_out(str(value)).value == expected
    if isinstance(value, list):
        array = np.empty(len(value), object)
        array[:] = value
        for text in (str(array), repr(array)):  # a column of lists that was saved to csv
            assert spelled_out(text).value == expected


def test_text_that_is_no_list_stays_text():
    for text in ("[sic]", "{a} and {b}", "[1, 2", "array of things", ""):
        assert parsed(text) == text
