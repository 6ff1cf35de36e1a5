"""What a run says, to people or to a program: one object that all of a run speaks through.

| `progress_bar_type` | on a terminal                    | in a pipe or a file                 |
|---------------------|----------------------------------|-------------------------------------|
| `tqdm`, `rich`      | bars, and text between them      | text: a line for each logged step   |
| `json`              | one JSON object a line, always on stdout: docs/terminal.md has the schema |
| `none`              | nothing; warnings and errors go to stderr as ever                         |
"""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from io import TextIOWrapper
from typing import Any, Protocol, TextIO

from easydel.display.pairs import Piece
from easydel.display.screens import JsonLines, PlainLines, TqdmScreen
from easydel.display.work import Bar, Silent, Work
from easydel.errors import ConfigError, nearest

KINDS = ("tqdm", "rich", "json", "none")


class Screen(Protocol):
    """Where it is shown."""

    @property
    def shows_figures(self) -> bool:
        """Whether the figures beside a bar are enough for a logged step, which then needs no line."""
        ...

    def say(self, text: str, marked: Sequence[Piece] = ()) -> None:
        """Shows lines of text to people; `marked` is the same text where some of it may be in color."""
        ...

    def complain(self, text: str) -> None:
        """Shows a warning or an error to people, on stderr."""
        ...

    def emit(self, event: str, values: Mapping[str, Any]) -> None:
        """Shows an event to a program."""
        ...

    def bar(self, work: Work) -> Bar:
        """Returns what shows a piece of work."""
        ...


class Display:
    """Says what happens; every event has a text for people and values for programs. Make one with `make_display`."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen

    def event(self, event: str, values: Mapping[str, Any], text: str, marked: Sequence[Piece] = ()) -> None:
        """Shows that something happened: `text` to people, in color as `marked` says, and `values` to a program."""
        self._screen.emit(event, values)
        if text:
            self._screen.say(text, marked)

    def say(self, text: str) -> None:
        """Shows a message."""
        self.event("message", {"text": text}, text)

    def complain(self, event: str, text: str) -> None:
        """Shows a `warning` or an `error`, to people on stderr; they are never left out."""
        self._screen.emit(event, {"text": text})
        self._screen.complain(f"{event}: {text}")

    def figures(self, event: str, values: Mapping[str, Any], text: str, *, work: Work, beside: str) -> None:
        """Shows the figures of a piece of work: beside its bar where there is one, else as a line."""
        self._screen.emit(event, values)
        if not self._screen.shows_figures:
            self._screen.say(text)
        work.put_beside(beside)

    def work(self, name: str, *, unit: str, total: int | None = None, done: int = 0, stays: bool = False) -> Work:
        """Returns a piece of work to count, see `Work`."""
        return Work(name, unit=unit, total=total, done=done, stays=stays, make_bar=self._screen.bar)


class _Nothing:
    """Shows nothing but complaints."""

    shows_figures = True

    def say(self, text: str, marked: Sequence[Piece] = ()) -> None: ...

    def complain(self, text: str) -> None:
        print(text, file=sys.stderr)

    def emit(self, event: str, values: Mapping[str, Any]) -> None: ...

    def bar(self, work: Work) -> Bar:
        return Silent()


SILENT = Display(_Nothing())
"""Shows nothing but complaints."""


def make_display(kind: str) -> Display:
    """Returns the display of a `progress_bar_type`, for the streams as they are now; they accept all text then.

    Raises:
        ConfigError: there is no such kind.
    """
    if kind not in KINDS:
        raise ConfigError(
            f"progress_bar_type = {kind!r} is not one of {', '.join(map(repr, KINDS))}.{nearest(str(kind), KINDS)}"
        )
    accept_all_text()
    return Display(_SCREENS[kind]())


def accept_all_text() -> None:
    """Makes stdout and stderr show `?` for a sign that their encoding has not, where they would raise an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper) and stream.errors == "strict":  # a notebook has streams of its own
            stream.reconfigure(errors="replace")


def is_terminal(stream: TextIO) -> bool:
    """Returns whether a stream is a terminal that can draw a line anew."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def _tqdm() -> Screen:
    if is_terminal(sys.stderr):
        return TqdmScreen(shows_figures=is_terminal(sys.stdout))
    return PlainLines()


def _rich() -> Screen:
    if not is_terminal(sys.stdout) and not is_terminal(sys.stderr):
        return PlainLines()
    from easydel.display.rich_screen import RichScreen  # rich takes a tenth of a second to import

    return RichScreen(shows_figures=is_terminal(sys.stdout))


_SCREENS: Mapping[str, Callable[[], Screen]] = {
    "tqdm": _tqdm,
    "rich": _rich,
    "json": JsonLines,
    "none": _Nothing,
}
