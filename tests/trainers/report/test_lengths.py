"""Bars are as high as their counts."""

import pytest

from easydel.trainers.report.lengths import lengths_of
from oracles.pages import COUNTS, LENGTHS


def value_at(drawing, y):
    """Returns the value at a height, read off the axis by its first and last tick."""
    (low, bottom), (high, top) = (
        (float(t.text.replace("−", "-")), t.at) for t in (drawing.y_ticks[0], drawing.y_ticks[-1])
    )
    return low + (y - bottom) / (top - bottom) * (high - low)


def test_bars_are_as_high_as_their_counts_and_stand_on_the_axis():
    prompts, completions = lengths_of("train", COUNTS | LENGTHS)
    assert (prompts.title, completions.title) == ("Prompts, train", "Completions, train")
    assert prompts.note == "prompt: mean 3.4, median 3, longest 5"
    [shape] = prompts.drawing.shapes
    assert [value_at(prompts.drawing, y) for y in shape.y] == pytest.approx([0, 3, 2], abs=0.02)
    assert shape.at == ["0 to 1 tokens", "2 to 3 tokens", "4 to 5 tokens"]
    assert shape.d.count("M") == 2  # none for the empty one
    assert [row[0] for row in completions.drawing.table] == ["0 to 1", "2 to 3", "4 to 5"]
    assert [each.label for each in completions.drawing.shapes] == ["chosen", "rejected"]


def test_a_dataset_whose_lengths_were_not_counted_has_no_bars():
    assert lengths_of("train", COUNTS) == []
