"""Bars of rich, in color. A module of its own, as rich takes a tenth of a second to import."""

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Column
from rich.text import Text

from easydel.display.pairs import Piece, Style
from easydel.display.screens import SECONDS_UNSEEN, print_lines
from easydel.display.work import Bar, Work

_STYLES: Mapping[Style, str] = {
    "text": "",
    "special": "cyan",
    "untrained": "dim",
    "cut": "red strike",
    "hidden": "dim italic",
    "border": "bold green",
}


class RichScreen:
    """Bars and text on the terminal; where stdout is not one, bars on stderr and plain text on stdout.

    Args:
        on_stdout: stdout is a terminal.
    """

    def __init__(self, *, on_stdout: bool) -> None:
        self._on_stdout = on_stdout
        self._console = Console(stderr=not on_stdout, highlight=False)
        self._console.on_broken_pipe = lambda: None  # it would end the process
        self._progress: Progress | None = None  # while there is work
        self._open = 0  # bars

    def say(self, text: str, marked: Sequence[Piece] = ()) -> None:
        """Prints text above the bars, colored by its marks; brackets in it are no markup."""
        if self._on_stdout:
            styled = Text.assemble(*((piece, _STYLES[style]) for style, piece in marked)) if marked else Text(text)
            self._console.print(styled, soft_wrap=True)
        else:
            print_lines(text)

    def bar(self, work: Work) -> Bar:
        """Returns a bar, which appears when the work takes a while; all are drawn together."""
        if self._progress is None:
            self._progress = self._started()
        self._open += 1
        task = self._progress.add_task(
            work.name, total=work.total, completed=work.done, visible=_is_seen(work), amount=work.amount, note=""
        )
        return _RichBar(self, self._progress, task)

    def close(self, progress: Progress, task: TaskID, *, stays: bool) -> None:
        """Removes a bar, or leaves it where it is, and stops drawing when it was the last."""
        if not stays:
            progress.remove_task(task)
        self._open -= 1
        if not self._open:
            progress.live.transient = not progress.tasks
            progress.stop()
            self._progress = None

    def _started(self) -> Progress:
        progress = Progress(
            SpinnerColumn(finished_text="✓"),
            TextColumn("{task.description}", style="bold", markup=False),
            BarColumn(bar_width=12),
            TextColumn("{task.fields[amount]}", markup=False),
            TimeRemainingColumn(),
            TextColumn(
                "{task.fields[note]}",
                style="cyan",
                markup=False,
                table_column=Column(no_wrap=True, overflow="ellipsis"),
            ),
            console=self._console,
            refresh_per_second=4,
            redirect_stdout=self._on_stdout,
        )
        progress.start()
        return progress


class _RichBar:
    def __init__(self, screen: RichScreen, progress: Progress, task: TaskID) -> None:
        self._screen, self._progress, self._task = screen, progress, task
        self._seen = False

    def show(self, work: Work) -> None:
        appears = _is_seen(work) and not self._seen  # drawn at once: it may be done before the next time
        self._seen = self._seen or appears
        self._progress.update(
            self._task,
            completed=work.done,
            visible=_is_seen(work),
            amount=work.amount,
            note=work.note,
            refresh=appears,
        )

    def close(self, work: Work, *, failed: bool) -> None:
        self._screen.close(self._progress, self._task, stays=work.stays)


def _is_seen(work: Work) -> bool:
    return work.stays or work.total is None or work.seconds > SECONDS_UNSEEN
