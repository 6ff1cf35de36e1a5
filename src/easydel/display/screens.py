"""Where a run is shown: bars of tqdm on a terminal, plain lines in a pipe or file, JSON lines for a program."""

import json
import math
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from easydel.display.pairs import Piece
from easydel.display.words import duration
from easydel.display.work import Bar, Work

if TYPE_CHECKING:
    from tqdm import tqdm

SECONDS_BETWEEN_LINES = 60.0  # of one piece of work, in a log file
SECONDS_BETWEEN_OBJECTS = 1.0  # of one piece of work, for a program
SECONDS_UNSEEN = 0.5  # what is done sooner has no bar
_BAR = "{desc} {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} {remaining}{postfix}"  # 80 columns hold it
_COUNT = "{desc} {n_fmt} {unit} {elapsed}"  # of nobody knows how much
_CLOCK = "{desc} {elapsed}"  # where there is nothing to count


class PlainLines:
    """Text without a control character: logged steps, and how far long work is every minute."""

    shows_figures = False

    def say(self, text: str, marked: Sequence[Piece] = ()) -> None:
        """Prints lines, which are there at once."""
        print(text, flush=True)

    def complain(self, text: str) -> None:
        """Prints to stderr."""
        print(text, file=sys.stderr, flush=True)

    def emit(self, event: str, values: Mapping[str, Any]) -> None:
        """People read this one."""

    def bar(self, work: Work) -> Bar:
        """Returns what prints a line now and then."""
        return _PlainBar()


class _PlainBar:
    def __init__(self) -> None:
        self._said, self._spoke = time.monotonic(), False

    def show(self, work: Work) -> None:
        if work.stays or time.monotonic() - self._said < SECONDS_BETWEEN_LINES:  # what stays has lines of its own
            return
        left = "" if work.seconds_left is None else f", {duration(work.seconds_left)} left"
        print(f"{work.name}: {work.amount}{left}", flush=True)
        self._said, self._spoke = time.monotonic(), True

    def close(self, work: Work, *, failed: bool) -> None:
        if self._spoke and not failed:
            print(f"{work.name}: {work.amount} in {duration(work.seconds)}", flush=True)


class TqdmScreen:
    """Bars of tqdm on stderr, and text on stdout that does not break them.

    Args:
        shows_figures: the text goes to a terminal too, not to a file.
    """

    def __init__(self, *, shows_figures: bool) -> None:
        self.shows_figures = shows_figures

    def say(self, text: str, marked: Sequence[Piece] = ()) -> None:
        """Prints text above the bars."""
        from tqdm import tqdm

        tqdm.write(text, file=sys.stdout)

    def complain(self, text: str) -> None:
        """Prints to stderr, above the bars."""
        from tqdm import tqdm

        tqdm.write(text, file=sys.stderr)

    def emit(self, event: str, values: Mapping[str, Any]) -> None:
        """People read this one."""

    def bar(self, work: Work) -> Bar:
        """Returns a bar, which shows itself when the work turns out to take a while."""
        from tqdm import tqdm

        return _TqdmBar(
            tqdm(
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
        )


def _dimensions() -> dict[str, Any]:
    """A terminal that does not know its size, as in a container, says 0; tqdm would hide every bar on it."""
    columns, lines = os.get_terminal_size(sys.stderr.fileno())
    return {"dynamic_ncols": True} if columns and lines else {"ncols": columns or 80, "nrows": lines or 24}


class _TqdmBar:
    def __init__(self, bar: "tqdm[Any]") -> None:
        self._bar = bar

    def show(self, work: Work) -> None:
        self._bar.set_postfix_str(work.note, refresh=False)
        self._bar.update(work.done - self._bar.n)

    def close(self, work: Work, *, failed: bool) -> None:
        self._bar.close()


class JsonLines:
    """One JSON object a line on stdout, for a program that follows the run."""

    shows_figures = True

    def say(self, text: str, marked: Sequence[Piece] = ()) -> None:
        """The same is in the values of an event."""

    def complain(self, text: str) -> None:
        """Prints to stderr what there is an event of too."""
        print(text, file=sys.stderr, flush=True)

    def emit(self, event: str, values: Mapping[str, Any]) -> None:
        """Prints an event: `event` and `time`, in seconds since 1970, come first."""
        object_ = {"event": event, "time": round(time.time(), 3)} | {
            name: plain(value) for name, value in values.items()
        }
        print(json.dumps(object_, allow_nan=False), flush=True)

    def bar(self, work: Work) -> Bar:
        """Returns what prints how far the work is, at most once a second."""
        return _JsonBar(self, work)


class _JsonBar:
    def __init__(self, lines: JsonLines, work: Work) -> None:
        self._lines, self._said = lines, 0.0
        self._emit(work, "begun")

    def show(self, work: Work) -> None:
        if time.monotonic() - self._said >= SECONDS_BETWEEN_OBJECTS:
            self._emit(work, "going")

    def close(self, work: Work, *, failed: bool) -> None:
        self._emit(work, "failed" if failed else "done")

    def _emit(self, work: Work, state: str) -> None:
        self._said = time.monotonic()
        values = {"work": work.name, "state": state, "done": work.done, "total": work.total, "unit": work.unit}
        left = None if work.seconds_left is None else round(work.seconds_left, 3)
        self._lines.emit("work", values | {"seconds": round(work.seconds, 3), "seconds_left": left})


def plain(value: Any) -> Any:
    """Returns a value as JSON has it: a number that is not finite is null, a path its text."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {str(name): plain(each) for name, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, list | tuple) else value
