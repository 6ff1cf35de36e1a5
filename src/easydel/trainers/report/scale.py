"""Numbers on an axis: where the ticks go, how values are written, and which points of a long line are drawn."""

import math
from collections.abc import Sequence

Points = Sequence[tuple[float, float]]

_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)


def ticks(low: float, high: float, max_ticks: int = 5, *, whole: bool = False) -> list[float]:
    """Returns up to `max_ticks` + 1 round numbers, evenly apart, from at or below `low` to at or above `high`.

    Args:
        whole: integers alone, as for steps and counts.

    >>> ticks(0.31, 0.72), ticks(0, 75, whole=True), ticks(3, 3)
    ([0.3, 0.4, 0.5, 0.6, 0.7, 0.8], [0.0, 20.0, 40.0, 60.0, 80.0], [2.0, 2.5, 3.0, 3.5, 4.0])
    """
    if high - low <= 1e-9 * max(abs(low), abs(high)):  # equal, but for rounding
        room = abs(low) / 3 or 0.5
        low, high = low - room, high + room
    scale = 10.0 ** math.floor(math.log10((high - low) / max_ticks))
    sizes = (part * power * scale for power in (1, 10, 100) for part in _STEPS)
    fitting = (max(size, 1.0) if whole else size for size in sizes)
    return next(
        marks
        for size in fitting
        if (not whole or size.is_integer()) and len(marks := _multiples(size, low, high)) <= max_ticks + 1
    )


def _multiples(size: float, low: float, high: float) -> list[float]:
    first, last = math.floor(low / size + 1e-9), math.ceil(high / size - 1e-9)
    return [float(f"{at * size:.12g}") + 0.0 for at in range(first, last + 1)]  # 0.3, not 0.30000000000000004 or -0.0


def number(value: float) -> str:
    """Returns a value with four significant digits, as people write it.

    >>> [number(value) for value in (0.69314718, 1234567.0, 9.43e-05, -12.0, 0.0, 75)]
    ['0.6931', '1,234,567', '9.43e-05', '−12', '0', '75']
    """
    written = f"{value:,.0f}" if 1000 <= abs(value) < 1e7 else f"{value:.4g}"
    return written.replace("-", "−", 1) if value < 0 else written


def share(value: float) -> str:
    """Returns a part of one as a percentage.

    >>> share(0.98125), share(1.0), share(0.5)
    ('98.1 %', '100 %', '50 %')
    """
    return f"{100 * value:.1f}".removesuffix(".0") + " %"


def thinned(points: Points, max_points: int) -> list[tuple[float, float]]:
    """Returns at most about `max_points` of the points, in order, with the first, the last, and every bend that shows.

    Of each stretch of a long line its lowest and its highest point are kept, so that no spike is lost.

    >>> thinned([(0, 1), (1, 1), (2, 9), (3, 1), (4, 1), (5, 1), (6, 0), (7, 1)], 4)
    [(0, 1), (2, 9), (6, 0), (7, 1)]
    """
    if len(points) <= max_points:
        return list(points)
    stretches = max((max_points - 2) // 2, 1)
    kept = {0, len(points) - 1}
    inner = range(1, len(points) - 1)
    for part in range(stretches):
        stretch = inner[part * len(inner) // stretches : (part + 1) * len(inner) // stretches]
        if stretch:
            kept |= {min(stretch, key=lambda at: points[at][1]), max(stretch, key=lambda at: points[at][1])}
    return [points[at] for at in sorted(kept)]
