"""How far work is, worked out by hand."""

import pytest

from easydel.display import work as module
from easydel.display.work import Silent, Work


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which a test may move on."""
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def test_the_rest_takes_as_long_as_what_was_done_here(clock):
    with Work("train", unit="steps", total=100, done=40, make_bar=Silent) as work:
        assert work.seconds_left is None  # nothing is known yet
        clock[0] += 6.0
        work.advance(20)  # of 60, so that there are 40 more
        assert (work.seconds, work.seconds_left) == (6.0, 12.0)


def test_of_work_without_a_known_end_no_time_is_left_to_tell(clock):
    with Work("tokenize", unit="rows", make_bar=Silent) as work:
        clock[0] += 6.0
        work.advance(2000)
        assert work.seconds_left is None
        assert work.amount == "2,000 rows"


def test_bytes_are_shown_as_people_write_them():
    with Work("load", unit="B", total=16_000_000_000, make_bar=Silent) as work:
        work.advance(1_500_000)
        assert work.amount == "1.5 MB of 16.0 GB"


def test_a_bar_ends_with_its_work_and_knows_whether_it_failed():
    ended = []

    class Bar:
        def show(self, work: Work) -> None:
            pass

        def close(self, work: Work, *, failed: bool) -> None:
            ended.append((work.name, failed))

    with Work("a", unit="rows", make_bar=lambda work: Bar()):
        pass
    with pytest.raises(KeyboardInterrupt), Work("b", unit="rows", make_bar=lambda work: Bar()):
        raise KeyboardInterrupt
    assert ended == [("a", False), ("b", True)]
