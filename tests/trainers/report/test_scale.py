"""Numbers on an axis: few ticks around all values, and no spike lost."""

import random

import pytest

from easydel.trainers.report.chart import MAX_POINTS, Line, draw
from easydel.trainers.report.scale import thinned, ticks


def test_a_long_line_keeps_its_ends_and_its_spikes():
    rng = random.Random(0)
    points = [(step, rng.random()) for step in range(10_000)]
    points[1234], points[8765] = (1234, 50.0), (8765, -50.0)
    kept = thinned(points, MAX_POINTS)
    assert len(kept) <= MAX_POINTS
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
