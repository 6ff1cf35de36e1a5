"""What a run could not write of what it says: it goes on, warns the first time, and names it again at its end.

Known to the whole module, as a disk is shared by a whole process.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from easydel.display import streams
from easydel.display.display import Display
from easydel.errors import warn

_reasons: dict[str, str] = {}  # of the run under way, by what was not written


@contextmanager
def named_at_the_end(display: Display) -> Iterator[None]:
    """Lasts as long as a run, and names at its end, however that comes, what was not written."""
    _reasons.clear()
    try:
        yield
    finally:
        for what, why in unwritten().items():
            display.warn("warning", f"not written: {what}: {why}")


def unwritten() -> dict[str, str]:
    """Returns why, and what to do, of each file, tracker and stream that lacks something of the run under way."""
    said = {name: f"{reason}. metrics.jsonl and report.html say the same." for name, reason in streams.lost().items()}
    return said | _reasons


def keep(what: object, why: str) -> None:
    """Keeps for the end of the run why something was not written."""
    _reasons[str(what)] = why


@contextmanager
def spared(file: Path, hint: str, errors: type[Exception] = OSError) -> Iterator[None]:
    """Lets a file that a run can do without fail; the first time a warning names it, the reason, and what to do.

    One that is written later, and then has everything, is forgotten.
    """
    try:
        yield
    except errors as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        if str(file) not in _reasons:
            warn(f"{file} could not be written: {reason}. {hint} The run goes on.")
        keep(file, f"{reason}. {hint}")
    else:
        _reasons.pop(str(file), None)
