"""Ends the processes of a launcher that was killed: `python guard.py`, with their ids on stdin, one a line.

The launcher holds the other end of stdin, so that it ends with the launcher, however that ends. Each process leads a
group, and may save first. No imports of ours: it starts in no time.

`python guard.py PIPE COMMAND ...` writes its id into that pipe and becomes the command: the launcher may be killed
before it could tell of a process that it started.
"""

import os
import signal
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import NoReturn

COMMAND = [sys.executable, "-I", "-S", __file__]
SECONDS_TO_SAVE = 30.0
_SECONDS_BETWEEN_LOOKS = 0.1


def main() -> int:
    """Waits for the end of stdin, and then for that of the processes."""
    groups = [int(line) for line in sys.stdin]
    _send(signal.SIGTERM, groups)
    until = time.monotonic() + SECONDS_TO_SAVE
    while _are_there(groups) and time.monotonic() < until:
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    _send(signal.SIGKILL, groups)
    return 0


def tell(pipe: int, command: list[str]) -> NoReturn:
    """Tells the guard of this process, and goes on as a command."""
    os.write(pipe, b"%d\n" % os.getpid())
    os.close(pipe)
    for ignored in (signal.SIGPIPE, signal.SIGXFSZ):  # by Python, and the command would with it
        signal.signal(ignored, signal.SIG_DFL)
    os.execvp(command[0], command)


def _send(number: signal.Signals, groups: Iterable[int]) -> None:
    for group in groups:
        with suppress(OSError):
            os.killpg(group, number)


def _are_there(groups: Iterable[int]) -> bool:
    for group in groups:
        with suppress(OSError):
            os.killpg(group, 0)
            return True
    return False


if __name__ == "__main__":
    if len(sys.argv) > 1:
        tell(int(sys.argv[1]), sys.argv[2:])
    sys.exit(main())
