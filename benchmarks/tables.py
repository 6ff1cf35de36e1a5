"""What the scripts share: where things lie, and Markdown tables."""

from collections.abc import Sequence

from benchmarks.environments import HERE
from benchmarks.models import SHARED
from easydel import quickstart

BUILD = HERE / ".build"

_ALPACA = SHARED / "data" / "alpaca_pairs.jsonl.gz"
DATA = _ALPACA if _ALPACA.is_file() else quickstart.train_file()
"""The pairs to train on: real ones where the shared folder is, else those that come with the package."""


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Returns a Markdown table whose columns are as wide as their longest cell, all but the first to the right.

    >>> print(table(["", "n"], [["a", "10"], ["bc", "9"]]))
    |    |  n |
    | :- | -: |
    | a  | 10 |
    | bc |  9 |
    """
    widths = [max(2, *(len(row[at]) for row in [header, *rows])) for at in range(len(header))]
    lines = [
        "| " + " | ".join(cell.ljust(w) if at == 0 else cell.rjust(w) for at, (cell, w) in cells) + " |"
        for cells in (list(enumerate(zip(row, widths, strict=True))) for row in [header, *rows])
    ]
    rule = "| " + " | ".join(":" + "-" * (w - 1) if at == 0 else "-" * (w - 1) + ":" for at, w in enumerate(widths))
    return "\n".join([lines[0], rule + " |", *lines[1:]])
