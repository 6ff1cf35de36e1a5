"""Numbers and facts as text for people."""

from collections.abc import Mapping
from typing import Any


def size(count: float) -> str:
    """Returns a number of bytes in B, kB, MB, GB or TB (powers of 1000).

    >>> size(900), size(3_500_000), size(16_060_000_000)
    ('900 B', '3.5 MB', '16.1 GB')
    """
    if count < 1000:
        return f"{count:.0f} B"
    power = next((power for power in (1, 2, 3) if count < 1000 ** (power + 1)), 4)
    return f"{count / 1000**power:.1f} {('kB', 'MB', 'GB', 'TB')[power - 1]}"


def duration(seconds: float) -> str:
    """Returns a number of seconds in hours, minutes and seconds.

    >>> duration(3.14), duration(192), duration(7384)
    ('3.1 s', '3 min 12 s', '2 h 03 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


def labeled(facts: Mapping[str, Any]) -> str:
    """Returns one line a fact, behind its label, the facts aligned.

    >>> print(labeled({"steps": 75, "rows, train": "all"}))
    steps        75
    rows, train  all
    """
    label = max(12, *(len(what) + 2 for what in facts))
    return "\n".join(f"{what:<{label}}{text}" for what, text in facts.items())
