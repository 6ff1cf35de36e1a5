"""The output of a run, to people or to a program: one object that all of a run prints through.

| `progress_bar_type` | on a terminal                    | in a pipe or a file                 |
|---------------------|----------------------------------|-------------------------------------|
| `tqdm`, `rich`      | bars, and text between them      | text: a line for each logged step   |
| `json`              | one JSON object a line, always on stdout: docs/terminal.md has the schema |
| `none`              | nothing; warnings and errors still go to stderr                           |
"""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TextIO

from easydel.display.pairs import Piece
from easydel.display.screens import PLAIN_LINES, JsonBar, Screen, print_event, tqdm_screen
from easydel.display.streams import harden, sparing
from easydel.display.work import Work
from easydel.errors import ConfigError, nearest

KINDS = ("tqdm", "rich", "json", "none")


class Display:
    """Shows events, each with a text for people and values for programs. Make one with `make_display`.

    What cannot be shown, as nobody reads it any more, is lost: that ends no run.
    """

    def __init__(self, screen: Screen) -> None:
        self._screen = screen

    def event(self, event: str, values: Mapping[str, Any], text: str, marked: Sequence[Piece] = ()) -> None:
        """Shows that something happened: `text` to people, in color as `marked` says, and `values` to a program."""
        with sparing():
            self._screen.emit(event, values)
            if text:
                self._screen.say(text, marked)

    def say(self, text: str) -> None:
        """Shows a message."""
        self.event("message", {"text": text}, text)

    def warn(self, event: str, text: str) -> None:
        """Shows a `warning` or an `error`, to people on stderr; it is never left out."""
        with sparing():
            self._screen.emit(event, {"text": text})
        with sparing():
            self._screen.warn(f"{event}: {text}")

    def figures(self, event: str, values: Mapping[str, Any], text: str, *, work: Work, beside: str) -> None:
        """Shows the figures of a piece of work: beside its bar where there is one, else as a line."""
        with sparing():
            self._screen.emit(event, values)
            if not self._screen.shows_figures:
                self._screen.say(text, ())
        work.put_beside(beside)

    def work(self, name: str, *, unit: str, total: int | None = None, done: int = 0, stays: bool = False) -> Work:
        """Returns a piece of work to count, see `Work`."""
        return Work(name, unit=unit, total=total, done=done, stays=stays, make_bar=self._screen.bar)


SILENT = Display(Screen())
"""Shows nothing but warnings and errors."""


def make_display(kind: str) -> Display:
    """Returns the display of a `progress_bar_type`, for the current stdout and stderr, which are hardened.

    Raises:
        ConfigError: an unknown kind.
    """
    if kind not in KINDS:
        raise ConfigError(
            f"progress_bar_type = {kind!r} is not one of {', '.join(map(repr, KINDS))}.{nearest(str(kind), KINDS)}"
        )
    harden()
    return Display(_SCREENS[kind]())


def is_terminal(stream: TextIO) -> bool:
    """Returns whether a stream is a terminal that can redraw a line."""
    with sparing():  # one that is closed
        return stream.isatty() and os.environ.get("TERM") != "dumb"
    return False


def _tqdm() -> Screen:
    return tqdm_screen(shows_figures=is_terminal(sys.stdout)) if is_terminal(sys.stderr) else PLAIN_LINES


def _rich() -> Screen:
    if not is_terminal(sys.stdout) and not is_terminal(sys.stderr):
        return PLAIN_LINES
    from easydel.display.rich_screen import RichScreen  # rich takes a tenth of a second to import

    rich = RichScreen(on_stdout=is_terminal(sys.stdout))
    return Screen(rich.bar, rich.say, shows_figures=is_terminal(sys.stdout))


_SCREENS: Mapping[str, Callable[[], Screen]] = {
    "tqdm": _tqdm,
    "rich": _rich,
    "json": lambda: Screen(JsonBar, emit=print_event),
    "none": Screen,
}
