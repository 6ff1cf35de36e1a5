"""The columns that a dataset was read from, as text."""

from collections.abc import Mapping, Sequence
from typing import Any

from easydel.display.pairs import visible

# What fits on a line: columns, and characters of the name of each.
_MAX_COLUMNS, _MAX_NAME = 24, 60


def read_and_ignored(counts: Mapping[str, Any]) -> tuple[str, str]:
    """Returns the columns that were read and those that were not, of the entry of a dataset in `data.json`.

    >>> seen = {"rows": 3, "read": {"w": 3, "prompt": 2}, "ignored": {"id": 3, "note": 0}}
    >>> read_and_ignored({"columns": {**seen, "stands_for": {"w": "weight"}}, "weights": [0.5, 2.0]})
    ('w as weight (0.5 to 2), prompt in 2 rows', 'id, note (empty)')
    """
    columns = counts["columns"]
    rows, stands_for = columns["rows"], columns["stands_for"]
    ranges = {"weight": counts.get("weights"), "margin": counts.get("margins"), "preference": counts.get("preferences")}
    read = []
    for column, count in columns["read"].items():
        role = stands_for.get(column, column)
        shown = _name(column) + ("" if role == column else f" as {role}")
        read.append(shown + _range(ranges.get(role)) + _in(count, rows))
    rest = columns["ignored"].items()
    return _listed(read), _listed(
        [_name(column) + (_in(count, rows) if count else " (empty)") for column, count in rest]
    )


def _name(column: str) -> str:
    return visible(column if len(column) <= _MAX_NAME else f"{column[: _MAX_NAME - 1]}\u2026")


def _listed(names: Sequence[str]) -> str:
    more = [f"and {len(names) - _MAX_COLUMNS:,} more"] if len(names) > _MAX_COLUMNS else []
    return ", ".join([*names[:_MAX_COLUMNS], *more])


def _range(values: Any) -> str:
    if values is None:
        return ""
    low, high = values
    return f" ({low:g})" if low == high else f" ({low:g} to {high:g})"


def _in(count: int, rows: int) -> str:
    return "" if count == rows else f" in {count} row{'s' * (count > 1)}"
