"""Ends a process with one line when another gives no sign of life, where jax alone would end it with a stack trace.

The first process keeps a store of keys for all. Each counts up a key of its own there; the first looks whether those of
the others change, and each of these whether the store answers. A last word, by one more key, ends all others.
"""

import math
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

_PLACES, _SIGNS, _LAST_WORDS = "easydel/places/", "easydel/signs/", "easydel/last_words/"
_MAX_INTERVAL = 1.0  # seconds between two looks
_LOOKS = 10  # at least, before a process counts as silent
_SECONDS_TO_JOIN = 1.0


def _exit(status: int) -> None:
    sys.stdout.flush()
    os._exit(status)  # an exit as usual would wait for the others


class PeerWatch:
    """Watches the other processes of a run, in threads, until `stop`.

    What counts is how often it looked and not the time: a process that was frozen itself takes no other for silent.

    Args:
        client: jax's, of the store that the first process keeps.
        number: which process this is, of `count`.
        timeout: seconds after which a process that gives no sign of life ends all others.
        end: ends this process, with an exit status.
    """

    def __init__(
        self, client: Any, *, number: int, count: int, timeout: float, end: Callable[[int], object] = _exit
    ) -> None:
        self._client, self._number, self._timeout, self._end = client, number, timeout, end
        self._interval = min(timeout / _LOOKS, _MAX_INTERVAL)
        self._limit = math.ceil(timeout / self._interval)  # looks
        place = f"process {number} ({socket.gethostname()}, pid {os.getpid()})"
        client.key_value_set(f"{_PLACES}{number}", place)
        self._places = {number: place, 0: client.blocking_key_value_get(f"{_PLACES}0", 1000 * math.ceil(timeout))}
        self._watched = range(1, count) if number == 0 else (0,)
        self._signs: dict[int, str] = {}  # of those that it watches, which change as long as they live
        self._stopped, self._ending, self._leaving = threading.Event(), threading.Event(), threading.Lock()
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._sign, self._look)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ends the watch: the processes are about to leave each other."""
        self._stopped.set()
        for thread in self._threads:
            thread.join(_SECONDS_TO_JOIN)  # one that waits for a store that does not answer never ends

    def end_if_told(self) -> None:
        """Waits for the end of this process, if the watch is about to end it."""
        if self._ending.is_set():
            threading.Event().wait()

    def tell(self, what: str, status: int) -> None:
        """Ends all others, each with an exit status and the line that this process has done `what`, before it returns.

        So that the job has that status too, whichever process a scheduler asks.
        """
        self._stopped.set()
        self._client.key_value_set(f"{_LAST_WORDS}{self._number}", f"{status} {self._places[self._number]} {what}")
        time.sleep(3 * self._interval)  # see `_leave`

    def _sign(self) -> None:
        """Gives the signs of this process and reads those of others; waits forever for a store that does not answer."""
        import jax

        own_words, at = f"{_LAST_WORDS}{self._number}", 0
        while not self._stopped.is_set():
            try:
                self._client.key_value_set(f"{_SIGNS}{self._number}", str(at), allow_overwrite=True)
                words = [said for key, said in self._client.key_value_dir_get(_LAST_WORDS) if key != own_words]
                # That the store answers is the sign of the first process.
                signs = [("0", str(at))] if self._number else self._client.key_value_dir_get(_SIGNS)
            except jax.errors.JaxRuntimeError:  # the first process has ended
                return
            if words:
                status, _, said = words[0].partition(" ")
                return self._leave(said, int(status))
            self._signs = {int(key.rpartition("/")[2]): sign for key, sign in signs}
            at += 1
            self._stopped.wait(self._interval)

    def _look(self) -> None:
        """Ends all once a process that this one watches has given no sign for too many looks in a row."""
        looks, before = dict.fromkeys(self._watched, 0), self._signs
        while not self._stopped.wait(self._interval):
            signs = self._signs
            looks = {each: 0 if signs.get(each) != before.get(each) else since + 1 for each, since in looks.items()}
            before = signs
            silent = [each for each, since in looks.items() if since >= self._limit]
            if silent:
                words = (
                    f"{self._place_of(silent[0])} has given no sign of life for {self._timeout:g} s (--peer_timeout)"
                )
                if self._number == 0:  # otherwise it is the store that does not answer
                    self._client.key_value_set(f"{_LAST_WORDS}0", f"1 {words}")
                return self._leave(words, 1)

    def _place_of(self, number: int) -> str:
        if number not in self._places:
            self._places |= {
                int(key.rpartition("/")[2]): place for key, place in self._client.key_value_dir_get(_PLACES)
            }
        return self._places.get(number, f"process {number}")

    def _leave(self, words: str, status: int) -> None:
        with self._leaving:
            if self._stopped.is_set():
                return
            self._ending.set()
            self._stopped.set()
        with suppress(OSError, ValueError):  # nobody reads it any more
            print(
                f"error: {words}: all others end. Start the job again with --resume auto.", file=sys.stderr, flush=True
            )
        sys.excepthook = lambda *error: None  # what fails from now on fails because of it
        # All have looked after one interval, and an earlier end would break what they exchange. Who told them ends
        # after three, and the first process last: its store ends with it, and jax then ends whoever is left.
        time.sleep((1 if self._number else 4) * self._interval)
        self._end(status)
