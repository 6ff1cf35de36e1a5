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
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

from easydel import processes
from easydel.errors import Interrupted

SIGNALS = (signal.SIGTERM, signal.SIGINT)
EXIT_CODE = 75  # EX_TEMPFAIL of sysexits.h: ended before it was done, and may be started again
_SECONDS_BETWEEN_LOOKS = 0.2
_heard: list[signal.Signals] = []  # since the run under way began to listen
T = TypeVar("T")


@contextmanager
def listen() -> Iterator[None]:
    """Notes SIGTERM and SIGINT while it lasts, for `wait_for` to raise.

    In a single process a second one does what the signal did before, and so do both afterwards. A signal that was
    ignored before, as under `nohup`, still is.

    Several processes have to end after the same step: SIGINT becomes SIGTERM, which jax itself hears, and nothing is
    noted here, see `processes.is_time_to_leave`. A second one changes nothing: SIGKILL ends a process at once.

    Python hands signals to its main thread only: in another one nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    if processes.count() > 1:
        with _told_to_all():
            yield
        return
    before = {each: signal.getsignal(each) for each in SIGNALS}
    before = {each: handler for each, handler in before.items() if handler not in (None, signal.SIG_IGN)}

    def hear(number: int, frame: FrameType | None) -> None:
        handler = before[signal.Signals(number)]
        if _heard and callable(handler):  # raises KeyboardInterrupt, say
            handler(number, frame)
        _heard.append(signal.Signals(number))

    deadly = [each for each, handler in before.items() if handler is signal.SIG_DFL]
    with _watched(deadly):
        _heard.clear()
        try:
            for each in before:
                signal.signal(each, hear)
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)
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


@contextmanager
def _told_to_all() -> Iterator[None]:
    """Makes a SIGTERM of a SIGINT, which all processes hear of."""
    before = signal.signal(signal.SIGINT, lambda *_: signal.raise_signal(signal.SIGTERM))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _watched(deadly: list[signal.Signals]) -> Iterator[None]:
    """Says at once that a signal came, and ends the process at the second if it is one of those given.

    In a thread: the handlers of Python run only when its main thread does, and the compiler may hold that for minutes.
    """
    reader, writer = socket.socketpair()
    writer.setblocking(False)

    def watch() -> None:
        seen = 0
        while numbers := reader.recv(1):
            if numbers[0] not in SIGNALS:
                continue
            seen += 1
            name = signal.Signals(numbers[0]).name
            if seen == 1:
                print(f"{name}: ends and saves after this step; a second one ends it at once.", file=sys.stderr)
            elif numbers[0] in deadly:
                os._exit(128 + numbers[0])

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
