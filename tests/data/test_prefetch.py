import threading

import pytest

from easydel.data.batch_layout import BatchLayout
from easydel.data.loader import make_loader
from easydel.data.prefetch import prefetch
from easydel.errors import DataError
from oracles.pairs import random_pairs


def test_prefetching_gives_the_same_items_and_ends_its_thread():
    before = threading.active_count()
    loader = make_loader(random_pairs(20), BatchLayout(4))
    with prefetch(loader.batches()) as ahead:
        found = list(ahead)
    assert [after for after, _ in found] == [after for after, _ in loader.batches()]
    assert threading.active_count() == before


def test_leaving_a_prefetch_early_ends_its_thread_and_the_making_of_items():
    before, made = threading.active_count(), []

    def endless():
        while True:
            made.append(len(made))
            yield made[-1]

    with prefetch(endless(), depth=3) as ahead:
        assert next(ahead) == 0
    assert threading.active_count() == before
    assert len(made) <= 4


def test_a_generator_is_closed_with_its_prefetch():
    closed = []

    def holding():
        try:
            yield from range(100)
        finally:
            closed.append(threading.current_thread())

    with prefetch(holding()) as ahead:
        next(ahead)
    assert closed == [threading.current_thread()]


def test_an_exception_while_making_items_is_raised_in_its_place():
    def failing():
        yield 1
        yield 2
        raise DataError("row 3 is broken")

    with prefetch(failing()) as ahead:
        assert [next(ahead), next(ahead)] == [1, 2]
        with pytest.raises(DataError, match="row 3 is broken"):
            next(ahead)


def test_an_exception_in_the_body_ends_the_thread():
    before = threading.active_count()
    with pytest.raises(KeyError), prefetch(iter(range(100))):
        raise KeyError
    assert threading.active_count() == before


def test_an_error_is_said_though_the_next_item_never_comes(monkeypatch):
    monkeypatch.setattr("easydel.data.prefetch._SECONDS_TO_END", 0.05)
    come = threading.Event()

    def stuck():
        yield 1
        come.wait()

    with pytest.raises(ZeroDivisionError):
        _fail_after_one(stuck())
    come.set()


def test_an_error_closes_the_generator_and_ends_its_thread():
    before, closed = threading.active_count(), []

    def holding():
        try:
            yield from range(100)
        finally:
            closed.append(True)

    with pytest.raises(ZeroDivisionError):
        _fail_after_one(holding())
    assert closed == [True]
    assert threading.active_count() == before


def _fail_after_one(items) -> None:
    with prefetch(items) as ahead:
        next(ahead)
        raise ZeroDivisionError
