"""Signals that ask a run to end: it finishes its step, saves a checkpoint and ends; a second one ends it at once,
where a single process makes it.

A run listens (`listen`) and waits for its batches and programs with `wait_for`, which raises `Interrupted` once a
signal is there. That is known to the whole module, as a signal is sent to the whole process.
"""

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, wait
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

from easydel import processes
from easydel.display.streams import sparing
from easydel.errors import Interrupted

_REQUESTS = (signal.SIGTERM, signal.SIGINT)
HANGUP = tuple(each for each in signal.Signals if each.name == "SIGHUP")  # which Windows lacks
EXIT_CODE = 75  # EX_TEMPFAIL of sysexits.h: ended before it was done, and may be started again
_SECONDS_BETWEEN_LOOKS = 0.2
_heard: list[signal.Signals] = []  # since the run under way began to listen
T = TypeVar("T")


@contextmanager
def listen() -> Iterator[None]:
    """Notes SIGTERM, SIGINT and SIGHUP while it lasts, for `wait_for` to raise.

    In a single process a second SIGTERM or SIGINT does what the signal did before, and so do all afterwards. SIGHUP
    never ends a run at once: a terminal that closes sends it more than once, and systemd sends it behind SIGTERM. A
    signal that was ignored before, as SIGHUP under `nohup`, still is.

    Several processes have to end after the same step: the others become SIGTERM, which jax itself hears, and nothing is
    noted here, see `processes.is_time_to_leave`. A second one changes nothing: SIGKILL ends a process at once.

    Python hands signals to its main thread only: in another one nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {each: signal.getsignal(each) for each in (*_REQUESTS, *HANGUP)}
    before = {each: handler for each, handler in before.items() if handler not in (None, signal.SIG_IGN)}
    if processes.count() > 1:
        with _handled({each: _tell_all for each in before if each != signal.SIGTERM}):
            yield
        return

    def hear(number: int, frame: FrameType | None) -> None:
        handler = before[signal.Signals(number)]
        if number in _REQUESTS and any(each in _REQUESTS for each in _heard) and callable(handler):
            handler(number, frame)  # raises KeyboardInterrupt, say
        _heard.append(signal.Signals(number))

    deadly = [each for each in _REQUESTS if before.get(each) is signal.SIG_DFL]
    with _watched(deadly):
        _heard.clear()
        try:
            with _handled(dict.fromkeys(before, hear)):
                yield
        finally:
            _heard.clear()


def wait_for(future: Future[T], meanwhile: Callable[[], object] = lambda: None) -> T:
    """Returns the result of a future; while it is not there, `meanwhile` is called a few times a second.

    Raises:
        Interrupted: the run that listens was asked to end, be there a result or not.
    """
    while True:
        if _heard:
            raise Interrupted(_heard[0].name, "before its first step: there is nothing to save.")
        if future.done():
            return future.result()
        meanwhile()
        wait([future], timeout=_SECONDS_BETWEEN_LOOKS)


def _tell_all(number: int, frame: FrameType | None) -> None:
    signal.raise_signal(signal.SIGTERM)


@contextmanager
def _handled(handlers: Mapping[signal.Signals, Callable[[int, FrameType | None], None]]) -> Iterator[None]:
    """Installs handlers, and puts back afterwards what was there before."""
    before = {each: signal.signal(each, handler) for each, handler in handlers.items()}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


@contextmanager
def _watched(deadly: list[signal.Signals]) -> Iterator[None]:
    """Says at once that a signal came, and ends the process at the second if it is one of those given.

    In a thread: the handlers of Python run only when its main thread does, and the compiler may hold that for minutes.
    """
    reader, writer = socket.socketpair()
    writer.setblocking(False)

    def watch() -> None:
        seen: list[signal.Signals] = []
        while numbers := reader.recv(1):
            if numbers[0] not in (*_REQUESTS, *HANGUP):
                continue
            heard = signal.Signals(numbers[0])
            if not seen:
                second = "; a second one ends the run at once" if heard in _REQUESTS else ""
                with sparing():  # a terminal that has closed
                    print(f"{heard.name}: ending after this step, which is saved{second}.", file=sys.stderr)
            elif heard in deadly and any(each in _REQUESTS for each in seen):
                os._exit(128 + heard)
            seen.append(heard)

    thread = threading.Thread(target=watch, name="signals", daemon=True)
    thread.start()
    before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        writer.close()
        thread.join()
        reader.close()
