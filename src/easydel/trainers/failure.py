"""What is said about a run that fails: what of it is saved, and how it goes on."""

from pathlib import Path

from easydel.errors import DataError


def what_is_saved(error: Exception, *, newest: int | None, step: int, total_steps: int, folder: Path) -> str:
    """Returns a note on an error that ended a run.

    Args:
        newest: the step of the newest checkpoint, None without one.
        step: how many steps were done.
        total_steps: how many there were to be.
        folder: that of the run.
    """
    if newest is None:
        return f"Nothing is saved of the {step} steps that were done."
    words = f"What was trained is saved, up to step {newest} of {total_steps}"
    words += "." if newest == step else f"; {step - newest} of the {step} steps that were done are lost."
    if isinstance(error, DataError):
        words += " Fix the row, or leave out rows that cannot be read by on_bad_row = 'skip' (--on_bad_row skip)."
    return f"{words} resume = 'auto' (--resume auto) continues {folder}."
