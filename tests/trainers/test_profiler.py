"""Tracing a few steps: the trace holds those steps, and training is what it was without one."""

from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from easydel.trainers.profiler import Profiler

# Of jax's own reader of traces.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def steps_in(folder: Path) -> list[int]:
    """Returns the numbers of the training steps in the one trace in a folder."""
    [file] = folder.rglob("*.xplane.pb")
    data = jax.profiler.ProfileData.from_file(str(file))
    events = (event for plane in data.planes for line in plane.lines for event in line.events)
    return sorted(int(dict(event.stats)["step_num"]) for event in events if event.name == "train")


def run(folder: Path, steps: int | None, *, first: int, last: int) -> None:
    """Does some steps, numbered from `first` to `last`."""
    with Profiler(folder, steps, ahead=last - first + 1) as profile:
        for number in range(first, last + 1):
            with profile.step(number):
                made = jnp.ones(3) * number
            profile.after(made)


def test_the_steps_after_the_first_two_are_traced(tmp_path):
    run(tmp_path, 3, first=11, last=20)
    assert steps_in(tmp_path) == [13, 14, 15]


def test_a_short_run_is_traced_as_far_as_it_goes(tmp_path):
    run(tmp_path, 3, first=1, last=4)
    assert steps_in(tmp_path) == [2, 3, 4]
    run(tmp_path / "shorter", 3, first=1, last=2)
    assert steps_in(tmp_path / "shorter") == [1, 2]


def test_a_run_that_ends_in_the_middle_of_its_trace_leaves_what_was_traced(tmp_path):
    with Profiler(tmp_path, 5, ahead=10) as profile:
        for number in range(1, 5):
            with profile.step(number):
                made = jnp.ones(3) * number
            profile.after(made)
    assert steps_in(tmp_path) == [3, 4]


def test_without_steps_to_trace_nothing_is_written(tmp_path):
    run(tmp_path, None, first=1, last=3)
    assert list(tmp_path.iterdir()) == []
