from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from easydel.data.passes import Passes, shuffled
from easydel.errors import DataError

ROWS = [{"prompt": str(number)} for number in range(5)]


class Again:
    """Rows without a length that can be read again."""

    def __iter__(self):
        return iter(ROWS)


def test_the_first_pass_begins_with_the_rows_that_were_looked_at():
    for rows in (iter(ROWS), Again()):
        passes = Passes(rows)
        assert list(islice(passes.look(), 3)) == ROWS[:3]
        assert list(passes.begin(0)) == ROWS


def test_rows_that_can_be_read_again_are_for_every_pass():
    passes = Passes(Again())
    assert [list(passes.begin(epoch)) for epoch in (0, 1, 0)] == [ROWS] * 3


def test_an_iterator_has_one_pass():
    passes = Passes(iter(ROWS))
    assert list(passes.begin(0)) == ROWS
    assert passes.begin(1) is None
    with pytest.raises(DataError, match=r"the stream \(list_iterator\) was read already"):
        passes.begin(0)


@given(count=st.integers(0, 30), size=st.integers(1, 40), seed=st.integers(0, 3), epoch=st.integers(0, 2))
def test_blocks_of_a_buffer_are_shuffled_and_keep_their_place(count, size, seed, epoch):
    order = list(shuffled(range(count), size, seed, epoch))
    blocks = [sorted(order[first : first + size]) for first in range(0, count, size)]
    assert [number for block in blocks for number in block] == list(range(count))
    assert order == list(shuffled(range(count), size, seed, epoch))


def test_seed_and_epoch_change_the_order_and_no_seed_keeps_it():
    orders = [list(shuffled(range(50), 50, seed, epoch)) for seed, epoch in ((0, 0), (0, 1), (1, 0), (None, 0))]
    assert orders[3] == list(range(50))
    assert all(one != other for at, one in enumerate(orders) for other in orders[:at])
