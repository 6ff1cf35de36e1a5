"""Drawings: values lie where the axes say they do."""

import itertools
import random

import pytest

from easydel.trainers.report.chart import BOTTOM, HEIGHT, LEFT, MOST_POINTS, RIGHT, TOP, WIDTH, Line, draw
from easydel.trainers.report.lengths import lengths_of
from easydel.trainers.report.scale import thinned, ticks
from oracles.pages import COUNTS, LENGTHS


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
    drawing = draw([Line("held out", [(0, 0.69)], 0)])
    assert [tick.text for tick in drawing.x_ticks] == ["0", "1"]
    assert drawing.shapes[0].x == [LEFT]


def test_lines_without_a_point_are_left_out():
    assert draw([Line("a", [], 0), Line("b", [], 1)]) is None
    assert [shape.label for shape in draw([Line("a", [], 0), Line("b", [(1, 1)], 1)]).shapes] == ["b"]


def test_a_long_line_keeps_its_ends_and_its_spikes():
    rng = random.Random(0)
    points = [(step, rng.random()) for step in range(10_000)]
    points[1234], points[8765] = (1234, 50.0), (8765, -50.0)
    kept = thinned(points, MOST_POINTS)
    assert len(kept) <= MOST_POINTS
    assert {points[0], points[1234], points[8765], points[-1]} <= set(kept)
    assert kept == sorted(kept)
    assert len(draw([Line("x", points, 0)]).table) == 40


@pytest.mark.parametrize("whole", [False, True])
def test_ticks_are_few_and_hold_the_values_between_them(whole):
    rng = random.Random(1)
    for _ in range(300):
        low = rng.uniform(-1, 1) * 10 ** rng.randint(-6, 6)
        high = low + rng.random() * 10 ** rng.randint(-6, 6)
        found = ticks(low, high, 5, whole=whole)
        room = 1e-6 * (found[1] - found[0])  # what nobody sees
        assert found[0] <= low + room
        assert found[-1] >= high - room
        assert 2 <= len(found) <= 7
        assert not whole or all(tick == int(tick) for tick in found)


def test_bars_are_as_high_as_their_counts_and_stand_on_the_axis():
    prompts, answers = lengths_of("train", COUNTS | LENGTHS)
    assert (prompts.title, answers.title) == ("Prompts, train", "Answers, train")
    assert prompts.note == "prompt: mean 3.4, median 3, longest 5"
    [shape] = prompts.drawing.shapes
    assert [value_at(prompts.drawing, y) for y in shape.y] == pytest.approx([0, 3, 2], abs=0.02)
    assert shape.at == ["0 to 1 tokens", "2 to 3 tokens", "4 to 5 tokens"]
    assert shape.d.count("M") == 2  # none for the empty one
    assert [row[0] for row in answers.drawing.table] == ["0 to 1", "2 to 3", "4 to 5"]
    assert [each.label for each in answers.drawing.shapes] == ["chosen", "rejected"]


def test_a_dataset_whose_lengths_were_not_counted_has_no_bars():
    assert lengths_of("train", COUNTS) == []
