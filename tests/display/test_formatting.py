"""Numbers and facts as text for people."""

import pytest

from easydel.display.formatting import duration, labeled, size


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (999_000, "999.0 kB"), (5e12, "5.0 TB"), (5e16, "50000.0 TB")],
)
def test_bytes_are_written_in_the_largest_unit_below_them(count, text):
    assert size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (59.9, "59.9 s"),
        (60, "1 min 00 s"),
        (3599.4, "59 min 59 s"),
        (3600, "1 h 00 min"),
        (90_000, "25 h 00 min"),
    ],
)
def test_seconds_are_written_in_hours_minutes_and_seconds(seconds, text):
    assert duration(seconds) == text


def test_facts_are_aligned_behind_the_longest_label():
    lines = labeled({"a": 1, "a much longer label": 2}).splitlines()
    assert lines == ["a                    1", "a much longer label  2"]
