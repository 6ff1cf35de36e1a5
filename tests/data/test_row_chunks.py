"""Rows by the chunk: as many as are asked for, and what they raise behind those before it."""

from collections.abc import Iterator

import pytest

from easydel.data.bad_rows import BadRow
from easydel.data.row_chunks import ROWS_AT_ONCE, RowChunks
from easydel.errors import DataError


class Counted:
    """Rows that count how many of them were asked for; some raise."""

    def __init__(self, count: int, error: Exception | None = None) -> None:
        self.count, self.error, self.asked = count, error, 0

    def __iter__(self) -> Iterator[dict[str, int]]:
        for at in range(self.count):
            self.asked += 1
            yield {"number": at}
        self.asked += 1
        if self.error is not None:
            raise self.error


def numbers(chunks) -> list[int]:
    return [row["number"] for chunk in chunks for row in chunk.rows]


@pytest.mark.parametrize("count", [1, ROWS_AT_ONCE - 1, ROWS_AT_ONCE, ROWS_AT_ONCE + 1, 3 * ROWS_AT_ONCE])
def test_no_row_is_asked_for_beyond_those_that_are_wanted(count):
    rows = Counted(10_000)
    chunks = RowChunks(rows, {})
    assert numbers(chunks.next(count)) == list(range(count))
    assert rows.asked == count
    assert numbers(chunks.next(2)) == [count, count + 1]
    assert rows.asked == count + 2
    assert not chunks.is_at_its_end


def test_the_end_of_the_rows_is_met_once():
    chunks = RowChunks(Counted(5), {})
    assert [chunk.first for chunk in chunks.next(5)] == [0]
    assert not chunks.is_at_its_end
    assert list(chunks.next(5)) == []
    assert chunks.is_at_its_end


@pytest.mark.parametrize("count", [0, 3, ROWS_AT_ONCE, ROWS_AT_ONCE + 3])
def test_what_the_rows_raise_comes_behind_the_rows_before_it(count):
    chunks = RowChunks(Counted(count, ConnectionError("reset")), {})
    found = list(chunks.next(10_000))
    assert numbers(found) == list(range(count))
    assert [chunk.broke is not None for chunk in found] == [*[False] * (len(found) - 1), True]
    assert found[-1].broke is not None
    assert f"in place of row {count} " in found[-1].broke.__notes__[0]
    assert chunks.is_at_its_end


def test_what_is_no_row_is_a_bad_one_and_is_not_looked_at():
    seen = []
    [chunk] = RowChunks([{"a": 1}, "b", {"c": 3}], {}, seen.append).next(9)
    assert seen == [{"a": 1}, {"c": 3}]
    assert isinstance(chunk.rows[1], BadRow)
    assert chunk.rows[1].reason == "row 1 is of type str; a row must be a dict of columns."


def test_a_column_that_the_first_rows_lack_is_an_error():
    with pytest.raises(DataError, match="columns: prompt=question names a column that the rows do not have"):
        next(RowChunks([{"number": 1}], {"prompt": "question"}).next(9))
