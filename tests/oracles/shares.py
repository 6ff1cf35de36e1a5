"""Threads that stand for the processes of a run, each with its share of the rows."""

import threading
from collections.abc import Callable, Sequence

from easydel.data.share import Arrays, Share
from easydel.errors import ConfigError, DataError


class Room:
    """Where the threads that stand for processes exchange what they have."""

    def __init__(self, count: int) -> None:
        self._barrier = threading.Barrier(count)
        self._given: list[Arrays] = [{}] * count

    def share(self, number: int) -> Share:
        def exchange(arrays: Arrays) -> Sequence[Arrays]:
            self._given[number] = arrays
            self._barrier.wait(10)
            found = list(self._given)
            self._barrier.wait(10)  # the next exchange begins when all have looked
            return found

        return Share(number, len(self._given), exchange)


def together(count: int, work: Callable[[Share], object]) -> list[object]:
    """What each of `count` processes returns, or raises."""
    room, results = Room(count), [None] * count

    def run(number: int) -> None:
        try:
            results[number] = work(room.share(number))
        except (ConfigError, DataError) as error:
            results[number] = str(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results
