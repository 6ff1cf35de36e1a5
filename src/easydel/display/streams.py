"""stdout and stderr, made so that what a process says never ends what it does.

A reader goes away (`| head`, a closed terminal), or a disk fills under a log file: what is written then is lost,
whoever writes it, and the process goes on.
"""

import io
import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_lost: dict[str, str] = {}  # why a stream could not be written to, by its name


def harden() -> None:
    """Makes stdout and stderr take all text: `?` for a character that their encoding lacks, and what nobody reads.

    Streams of somebody else, as those of a notebook, stay what they are.
    """
    _fill_standard_numbers()
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # it was closed before Python started
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115  # open as long as the process
        elif stream is getattr(sys, f"__{name}__") and type(stream) is io.TextIOWrapper:
            setattr(sys, name, _hardened(name, stream))
        elif isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="replace")


def lost() -> dict[str, str]:
    """Returns why stdout or stderr could not be written to, by its name; empty where all was written."""
    return dict(_lost)


@contextmanager
def sparing() -> Iterator[None]:
    """Lets what is said within it be lost where a stream fails that is not one of ours."""
    try:
        yield
    except OSError:
        pass
    except ValueError as error:
        if "closed file" not in str(error):
            raise


def _fill_standard_numbers() -> None:
    """Opens those of stdin, stdout and stderr that were closed before Python started.

    The next file to be opened, a checkpoint say, would have the number that C libraries write their messages to.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(number)


def _hardened(name: str, stream: io.TextIOWrapper) -> io.TextIOWrapper:
    """Returns another stream to the same file, which does not fail."""
    stream.flush()
    raw = _Lossy(name, stream.fileno())
    return io.TextIOWrapper(
        raw if stream.write_through else io.BufferedWriter(raw),  # pyright: ignore[reportArgumentType]  # as `python -u`
        encoding=stream.encoding,
        errors="replace" if stream.errors == "strict" else stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


class _Lossy(io.FileIO):
    """A file that takes everything: what cannot be written is lost."""

    def __init__(self, name: str, number: int) -> None:
        super().__init__(number, "w", closefd=False)
        self._stream = name

    def write(self, content: "bytes | bytearray | memoryview", /) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        try:
            while (written := super().write(content)) is None:  # a terminal that some other program made non-blocking
                select.select((), (self,), ())
        except OSError as error:
            self._note(error.strerror or str(error))
            return memoryview(content).nbytes
        return written

    def _note(self, reason: str) -> None:
        if self._stream not in _lost and self._stream == "stdout":
            words = f"warning: stdout could not be written to ({reason}): the process goes on, unheard there.\n"
            with suppress(OSError):  # past all locks and buffers, which may be held right now
                os.write(2, words.encode())
        _lost[self._stream] = reason
