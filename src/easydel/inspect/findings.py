"""What an inspection says: findings, each with its level, its figures and the rows behind it."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

Level = Literal["note", "warning", "error"]
LEVELS: tuple[Level, ...] = ("note", "warning", "error")
NEVER = "never"
MAX_EXAMPLES = 20
"""Rows that are named behind a figure of a whole dataset, which would otherwise be most of its rows."""


class Finding(NamedTuple):
    """Something that a check found.

    Attributes:
        check: the name of the check, see `easydel.inspect.checks.CHECKS`.
        text: a sentence with its figure.
        figures: the same as values.
        faults: the rows at fault, each with why; a check whose rows can be left out names them all.
        examples: rows behind a figure of the whole dataset, or of one of its sources, at most `MAX_EXAMPLES`.
    """

    check: str
    level: Level
    text: str
    figures: Mapping[str, Any] = {}
    faults: Mapping[int, str] = {}
    examples: Sequence[int] = ()

    def values(self) -> dict[str, Any]:
        """Returns it as `inspect.json` has it."""
        faults = [{"row": row, "why": why} for row, why in sorted(self.faults.items())]
        return self._asdict() | {"figures": dict(self.figures), "faults": faults, "examples": list(self.examples)}


def is_at_least(level: Level, limit: str) -> bool:
    """Returns whether a level reaches a limit, which may also be `never`.

    >>> is_at_least("warning", "note"), is_at_least("warning", "error"), is_at_least("error", "never")
    (True, False, False)
    """
    return limit != NEVER and LEVELS.index(level) >= LEVELS.index(limit)  # pyright: ignore[reportArgumentType]


def in_rows(count: int) -> str:
    """Returns a number of rows as text.

    >>> in_rows(1), in_rows(1200)
    ('1 row', '1,200 rows')
    """
    return f"{count:,} row{'s' * (count != 1)}"
