"""A piece of work that takes a while: its progress, and the time left."""

import time
from collections.abc import Callable
from typing import Protocol, Self

from easydel.display.formatting import size
from easydel.display.streams import sparing


class Bar(Protocol):
    """What shows one piece of work: a bar on a terminal, a line now and then, an object for a program, or nothing."""

    def show(self, work: "Work") -> None:
        """Shows the progress of the work; called often, and draws only now and then."""
        ...

    def close(self, work: "Work", *, failed: bool) -> None:
        """Ends: the work is done, or `failed`."""
        ...


class Work:
    """Counts the progress of a piece of work; use it as a context manager.

    >>> with Work("pack", total=3, unit="rows", make_bar=Silent) as work:
    ...     work.advance(2)
    ...     work.amount
    '2 of 3 rows'

    Args:
        name: what is done, such as `load`.
        unit: what is counted, in the plural; `B` is bytes, and "" nothing: only time passes.
        total: how much there is to do; None where that is unknown.
        done: how much of it was done before.
        stays: whether the bar is left on the terminal at the end.

    Attributes:
        note: figures that stand beside the bar.
    """

    def __init__(
        self,
        name: str,
        *,
        unit: str,
        make_bar: Callable[["Work"], Bar],
        total: int | None = None,
        done: int = 0,
        stays: bool = False,
    ) -> None:
        self.name, self.unit, self.total, self.done, self.stays = name, unit, total, done, stays
        self.note = ""
        self._make_bar = make_bar
        self._before, self._began = done, time.monotonic()

    def __enter__(self) -> Self:
        self._began = time.monotonic()
        self._bar: Bar = Silent(self)  # where none can be drawn
        with sparing():
            self._bar = self._make_bar(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        with sparing():
            self._bar.close(self, failed=kind is not None)

    def advance(self, count: int = 1) -> None:
        """Counts `count` more as done."""
        self.done += count
        self.tick()

    def tick(self) -> None:
        """Shows that time passes; call it a few times a second while waiting for something."""
        with sparing():
            self._bar.show(self)

    def put_beside(self, note: str) -> None:
        """Shows figures beside the bar."""
        self.note = note
        self.tick()

    @property
    def seconds(self) -> float:
        """Seconds since the work began in this process."""
        return time.monotonic() - self._began

    @property
    def seconds_left(self) -> float | None:
        """Seconds that the rest takes at the rate so far; None while that is unknown."""
        here = self.done - self._before
        return None if self.total is None or not here else (self.total - self.done) * self.seconds / here

    @property
    def amount(self) -> str:
        """How much is done, of how much, as text."""
        if not self.unit:
            return ""
        if self.unit == "B":
            return size(self.done) if self.total is None else f"{size(self.done)} of {size(self.total)}"
        whole = "" if self.total is None else f" of {self.total:,}"
        return f"{self.done:,}{whole} {self.unit}"


class Silent:
    """A bar that shows nothing."""

    def __init__(self, work: Work) -> None: ...

    def show(self, work: Work) -> None:
        """Shows nothing."""

    def close(self, work: Work, *, failed: bool) -> None:
        """Shows nothing."""
