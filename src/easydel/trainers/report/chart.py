"""Charts as values: where each line, tick and dot of a drawing lies. Templates turn them into SVG."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from easydel.trainers.report.scale import Points, number, thinned, ticks

WIDTH, HEIGHT = 360, 212
LEFT, RIGHT, TOP, BOTTOM = 50, 8, 10, 30
MAX_POINTS = 400  # of a line that is drawn: more than there are dots across
MAX_ROWS = 40  # of the table beside a chart


class Line(NamedTuple):
    """Values by step, and how they look: `color` says what or whose they are, lines of eval sets are dashed."""

    label: str
    points: Points
    color: int
    is_eval: bool = False


class Tick(NamedTuple):
    """A mark on an axis."""

    at: float
    text: str


class Shape(NamedTuple):
    """A line, or bars, as drawn; of each point `at`, `x`, `y` and `values` say what is shown to who points at it."""

    label: str
    color: int
    is_eval: bool
    d: str  # as an SVG path
    at: list[str]
    x: list[float]
    y: list[float]
    values: list[str]


class Drawing(NamedTuple):
    """A chart as drawn, in units of a box of `WIDTH` x `HEIGHT`."""

    shapes: list[Shape]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    zero: float | None  # height of the value 0, where both signs occur
    words: str  # what it shows, for who cannot see it
    table: list[list[str]]  # the same values: the step, and that of each line
    across: str = "step"
    filled: bool = False  # bars, not lines


Format = Callable[[float], str]


def draw(
    lines: Sequence[Line], *, write: Format = number, low: float | None = None, high: float | None = None
) -> Drawing | None:
    """Returns the drawing of some lines; None where none has a point.

    Args:
        write: how a value is written.
        low: the min of the vertical axis; None goes by the values.
        high: the max.
    """
    lines = [line for line in lines if line.points]
    if not lines:
        return None
    xs, ys = zip(*(point for line in lines for point in line.points), strict=True)
    last = max(xs) or 1.0  # there is no step before 0
    first = 0.0 if min(xs) < last / 4 else min(xs) - (min(xs) == last)  # from the beginning, unless that lies far off
    up = ticks(min(ys) if low is None else low, max(ys) if high is None else high, 4)
    place_x = placer(first, last, LEFT, WIDTH - RIGHT)
    place_y = placer(up[0], up[-1], HEIGHT - BOTTOM, TOP)
    return Drawing(
        shapes=[_path(line, place_x, place_y, write) for line in lines],
        x_ticks=[Tick(place_x(at), f"{at:,.0f}") for at in ticks(first, last, 6, whole=True) if first <= at <= last],
        y_ticks=[Tick(place_y(each), write(each)) for each in up],
        zero=place_y(0.0) if up[0] < 0 < up[-1] else None,
        words="; ".join(_in_words(line, write) for line in lines) + ".",
        table=_table(lines, write),
    )


def placer(first: float, last: float, start: float, end: float) -> Callable[[float], float]:
    """Returns the function that takes `first` to `start` and `last` to `end`."""
    return lambda value: round(start + (value - first) / (last - first) * (end - start), 1)


def _path(line: Line, place_x: Callable[[float], float], place_y: Callable[[float], float], write: Format) -> Shape:
    points = thinned(line.points, MAX_POINTS)
    x, y = [place_x(step) for step, _ in points], [place_y(value) for _, value in points]
    d = "M" + "L".join(f"{across:g} {down:g}" for across, down in zip(x, y, strict=True))
    return Shape(
        line.label,
        line.color,
        line.is_eval,
        d,
        at=[f"step {step:,.0f}" for step, _ in points],
        x=x,
        y=y,
        values=[write(value) for _, value in points],
    )


def _in_words(line: Line, write: Format) -> str:
    (first, before), (last, after) = line.points[0], line.points[-1]
    if len(line.points) == 1:
        return f"{line.label}: {write(after)} at step {last:g}"
    return f"{line.label}: from {write(before)} at step {first:g} to {write(after)} at step {last:g}"


def _table(lines: Sequence[Line], write: Format) -> list[list[str]]:
    """Returns the values of all lines by step, of a long run those of some steps evenly apart and the last."""
    steps = sorted({step for line in lines for step, _ in line.points})
    every = -(-len(steps) // MAX_ROWS)
    shown = steps[::-1][::every][::-1]
    by_step = [dict(line.points) for line in lines]
    return [[f"{step:,.0f}", *(write(at[step]) if step in at else "" for at in by_step)] for step in shown]
