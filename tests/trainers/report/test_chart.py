"""Drawings: values lie where the axes say they do."""

import itertools

import pytest

from easydel.trainers.report.chart import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Line, draw


def value_at(drawing, y):
    """Returns the value at a height, read off the axis by its first and last tick."""
    (low, bottom), (high, top) = (
        (float(t.text.replace("−", "-")), t.at) for t in (drawing.y_ticks[0], drawing.y_ticks[-1])
    )
    return low + (y - bottom) / (top - bottom) * (high - low)


def test_a_value_is_read_off_the_axis_at_its_height():
    values = [0.69, 0.4, -0.15, 0.3]
    drawing = draw([Line("train", list(zip((1, 2, 3, 4), values, strict=True)), 0)])
    [shape] = drawing.shapes
    assert [value_at(drawing, y) for y in shape.y] == pytest.approx(values, abs=0.005)
    assert value_at(drawing, drawing.zero) == pytest.approx(0)
    gaps = [b - a for a, b in itertools.pairwise(shape.x)]
    assert gaps == pytest.approx([gaps[0]] * 3, abs=0.2)  # steps 1, 2, 3, 4
    assert all(LEFT <= x <= WIDTH - RIGHT for x in shape.x)
    assert all(TOP <= y <= HEIGHT - BOTTOM for y in shape.y)


@pytest.mark.parametrize(
    "points", [[(0, 0.69)], [(7, 0.5)], [(1, 2.0), (2, 2.0)], [(0, 0.0), (5, 0.0)], [(10**6, 1e-9), (10**6 + 1, 2e-9)]]
)
def test_few_or_equal_values_are_drawn_within_the_box(points):
    drawing = draw([Line("x", points, 0)])
    assert all(LEFT <= x <= WIDTH - RIGHT for x in drawing.shapes[0].x)
    assert all(TOP <= y <= HEIGHT - BOTTOM for y in drawing.shapes[0].y)
    assert len(drawing.x_ticks) >= 1


def test_an_evaluation_at_step_0_alone_has_no_step_before_it():
    drawing = draw([Line("eval", [(0, 0.69)], 0)])
    assert [tick.text for tick in drawing.x_ticks] == ["0", "1"]
    assert drawing.shapes[0].x == [LEFT]


def test_lines_without_a_point_are_left_out():
    assert draw([Line("a", [], 0), Line("b", [], 1)]) is None
    assert [shape.label for shape in draw([Line("a", [], 0), Line("b", [(1, 1)], 1)]).shapes] == ["b"]
