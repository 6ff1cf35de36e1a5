"""A silent process is named, by each of the others, which end; here threads stand for processes."""

import re
import threading
from collections.abc import Callable

import jax
import pytest

from easydel.peer_watch import PeerWatch

TIMEOUT = 0.5
PATIENCE = 60  # seconds; what is waited for comes after one


class Store:
    """What jax's client gives: keys that all see, until the process that keeps them is frozen or has ended."""

    def __init__(self) -> None:
        self._keys: dict[str, str] = {}
        self.answers, self.ended = threading.Event(), False
        self.answers.set()

    def _check(self) -> None:
        self.answers.wait()
        if self.ended:
            raise jax.errors.JaxRuntimeError("UNAVAILABLE: Socket closed")

    def key_value_set(self, key: str, value: str, allow_overwrite: bool = False) -> None:
        self._check()
        assert allow_overwrite or key not in self._keys
        self._keys = {**self._keys, key: value}

    def key_value_dir_get(self, prefix: str) -> list[tuple[str, str]]:
        self._check()
        return [(key, value) for key, value in self._keys.items() if key.startswith(prefix)]

    def blocking_key_value_get(self, key: str, milliseconds: int) -> str:
        assert milliseconds > 0
        return self._keys[key]


@pytest.fixture
def joined() -> "Callable[[Store, int], tuple[list[PeerWatch], list[threading.Event]]]":
    """Joins three processes or fewer: their watches, and what is set once one has ended."""
    made: list[PeerWatch] = []

    def join(store: Store, count: int = 3) -> tuple[list[PeerWatch], list[threading.Event]]:
        ends = [threading.Event() for _ in range(count)]
        for number, end in enumerate(ends):
            made.append(
                PeerWatch(store, number=number, count=3, timeout=TIMEOUT, end=lambda status, end=end: end.set())
            )
        return made, ends

    yield join
    for watch in made:
        watch._client.answers.set()
        watch.stop()


def lines(said: str) -> list[str]:
    return [re.sub(r"\(.*?, pid \d+\)", "(HOST)", line, count=1) for line in said.splitlines()]


def test_a_process_without_signs_of_life_is_named_by_all_others_which_end(joined, capsys):
    watches, ends = joined(Store())
    watches[1]._stopped.set()  # as if frozen: it neither signs nor looks
    assert ends[0].wait(PATIENCE)
    assert ends[2].wait(PATIENCE)
    line = "error: process 1 (HOST) has given no sign of life for 0.5 s (--peer_timeout): all others end. Start the job"
    assert lines(capsys.readouterr().err) == [f"{line} again with --resume auto."] * 2
    assert not ends[1].is_set()


def test_one_that_never_came_is_silent_too(joined, capsys):
    _, ends = joined(Store(), count=2)
    assert ends[0].wait(PATIENCE)
    assert ends[1].wait(PATIENCE)
    assert capsys.readouterr().err.startswith("error: process 2 has given no sign of life")


def test_a_store_that_does_not_answer_means_that_the_first_process_is_silent(joined, capsys):
    store = Store()
    watches, ends = joined(store)
    watches[0]._stopped.set()
    store.answers.clear()
    assert ends[1].wait(PATIENCE)
    assert ends[2].wait(PATIENCE)
    said = lines(capsys.readouterr().err)
    assert len(said) == 2
    assert all(line.startswith("error: process 0 (HOST) has given no sign of life for 0.5 s") for line in said)


def test_a_process_that_has_an_error_ends_all_others_with_its_status_and_not_itself(joined, capsys):
    watches, ends = joined(Store())
    statuses = []
    for watch, end in zip(watches, ends, strict=True):
        watch._end = lambda status, end=end: (statuses.append(status), end.set())
    watches[1].tell("has ended with an error of its own, see there", 2)
    assert ends[0].wait(PATIENCE)
    assert ends[2].wait(PATIENCE)
    assert statuses == [2, 2]
    line = "error: process 1 (HOST) has ended with an error of its own, see there: all others end."
    assert lines(capsys.readouterr().err) == [f"{line} Start the job again with --resume auto."] * 2
    assert not ends[1].is_set()


def test_after_the_end_of_the_watch_nobody_is_missed(joined, capsys):
    watches, ends = joined(Store())
    for watch in watches:
        watch.stop()
    assert not any(thread.is_alive() for watch in watches for thread in watch._threads)
    assert not any(end.is_set() for end in ends)
    assert capsys.readouterr().err == ""


def test_a_store_that_is_gone_is_left_to_jax_which_ends_its_processes_at_once(joined):
    store = Store()
    watches, _ = joined(store)
    store.ended = True
    for watch in watches:
        watch._threads[0].join(PATIENCE)
        assert not watch._threads[0].is_alive()
