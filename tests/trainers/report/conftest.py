"""The run that tests of the report show."""

from pathlib import Path

import pytest

from oracles.pages import EVIL, write_answers, write_run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of three logged steps, the second of which was not finite, two evaluations, and a prompt."""
    folder = write_run(tmp_path / "mine", beta=0.25)
    write_answers(folder, f"{EVIL} 1", (0, f"{EVIL} at 0"), (30, f"{EVIL} at 30"))
    return folder
