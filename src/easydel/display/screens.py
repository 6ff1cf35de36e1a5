"""Where a run is shown: bars of tqdm on a terminal, plain lines in a pipe or file, JSON lines for a program."""

import json
import math
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from easydel.display.formatting import duration
from easydel.display.pairs import Piece
from easydel.display.work import Bar, Silent, Work

SECONDS_BETWEEN_LINES = 60.0  # of one piece of work, in a log file
SECONDS_BETWEEN_OBJECTS = 1.0  # of one piece of work, for a program
SECONDS_UNSEEN = 0.5  # what is done sooner has no bar
_BAR = "{desc} {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} {remaining}{postfix}"  # 80 columns hold it
_COUNT = "{desc} {n_fmt} {unit} {elapsed}"  # where the total is unknown
_CLOCK = "{desc} {elapsed}"  # where there is nothing to count


def print_lines(text: str, marked: Sequence[Piece] = ()) -> None:
    """Prints text for people, without colors."""
    print(text, flush=True)


def print_warning(text: str) -> None:
    """Prints to stderr."""
    print(text, file=sys.stderr, flush=True)


def print_event(event: str, values: Mapping[str, Any]) -> None:
    """Prints an event as a JSON object: `event` and `time`, in seconds since 1970, come first."""
    begins = {"event": event, "time": round(time.time(), 3)}
    print(json.dumps(begins | {name: plain(value) for name, value in values.items()}, allow_nan=False), flush=True)


def _show_nothing(*shown: Any) -> None: ...


class Screen(NamedTuple):
    """Where output is shown: nothing but warnings and errors, unless it is given how.

    Attributes:
        bar: makes what shows a piece of work.
        say: shows lines of text to people; the second argument is the same text where some of it may be in color.
        warn: shows a warning or an error to people, on stderr.
        emit: shows an event to a program.
        shows_figures: the figures beside a bar are enough for a logged step, which then needs no line.
    """

    bar: Callable[[Work], Bar] = Silent
    say: Callable[[str, Sequence[Piece]], None] = _show_nothing
    warn: Callable[[str], None] = print_warning
    emit: Callable[[str, Mapping[str, Any]], None] = _show_nothing
    shows_figures: bool = True


class _PlainBar:
    """Prints a line now and then, but of work whose bar would stay, which has lines of its own."""

    def __init__(self, work: Work) -> None:
        self._printed_at, self._printed = time.monotonic(), False

    def show(self, work: Work) -> None:
        if work.stays or time.monotonic() - self._printed_at < SECONDS_BETWEEN_LINES:
            return
        left = "" if work.seconds_left is None else f", {duration(work.seconds_left)} left"
        print(f"{work.name}: {work.amount}{left}", flush=True)
        self._printed_at, self._printed = time.monotonic(), True

    def close(self, work: Work, *, failed: bool) -> None:
        if self._printed and not failed:
            print(f"{work.name}: {work.amount} in {duration(work.seconds)}", flush=True)


PLAIN_LINES = Screen(_PlainBar, print_lines, shows_figures=False)
"""Text without control characters: logged steps, and the progress of long work every minute."""


def _dimensions() -> dict[str, Any]:
    """The size of the bars: a terminal of unknown size, as in a container, reports 0, on which tqdm hides every bar."""
    columns, lines = os.get_terminal_size(sys.stderr.fileno())
    return {"dynamic_ncols": True} if columns and lines else {"ncols": columns or 80, "nrows": lines or 24}


class _TqdmBar:
    """Appears when the work takes a while."""

    def __init__(self, work: Work) -> None:
        from tqdm import tqdm

        self._bar = tqdm(
            total=work.total,
            initial=work.done,
            desc=work.name,
            unit="" if work.unit == "B" else work.unit,
            unit_scale=work.unit == "B",
            miniters=0,
            leave=work.stays,
            delay=SECONDS_UNSEEN if work.total is not None and not work.stays else 0,
            **_dimensions(),
            bar_format=_BAR if work.total is not None else _COUNT if work.unit else _CLOCK,
            file=sys.stderr,
        )

    def show(self, work: Work) -> None:
        self._bar.set_postfix_str(work.note, refresh=False)
        self._bar.update(work.done - self._bar.n)

    def close(self, work: Work, *, failed: bool) -> None:
        self._bar.close()


def tqdm_screen(*, shows_figures: bool) -> Screen:
    """Returns bars of tqdm on stderr, and text on stdout that does not break them.

    Args:
        shows_figures: the text goes to a terminal too, not to a file.
    """

    def write(text: str, file: TextIO) -> None:
        from tqdm import tqdm

        tqdm.write(text, file=file)

    return Screen(
        _TqdmBar,
        say=lambda text, marked: write(text, sys.stdout),
        warn=lambda text: write(text, sys.stderr),
        shows_figures=shows_figures,
    )


class JsonBar:
    """Prints the progress of a piece of work for a program, as events at most once a second."""

    def __init__(self, work: Work) -> None:
        self._printed_at = 0.0
        self._emit(work, "begun")

    def show(self, work: Work) -> None:
        if time.monotonic() - self._printed_at >= SECONDS_BETWEEN_OBJECTS:
            self._emit(work, "going")

    def close(self, work: Work, *, failed: bool) -> None:
        self._emit(work, "failed" if failed else "done")

    def _emit(self, work: Work, state: str) -> None:
        self._printed_at = time.monotonic()
        values = {"work": work.name, "state": state, "done": work.done, "total": work.total, "unit": work.unit}
        left = None if work.seconds_left is None else round(work.seconds_left, 3)
        print_event("work", values | {"seconds": round(work.seconds, 3), "seconds_left": left})


def plain(value: Any) -> Any:
    """Returns a value as JSON: a number that is not finite is null, a path a string."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {str(name): plain(each) for name, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, list | tuple) else value
