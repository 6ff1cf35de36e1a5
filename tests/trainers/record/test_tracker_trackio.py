"""The real trackio writing real files; see `make trackers`."""

from pathlib import Path

import pytest

from easydel.trainers.record.tracker import PROJECT
from oracles.tracked import METRICS, track

pytestmark = [
    pytest.mark.trackers,
    pytest.mark.usefixtures("nobody"),
    # What the packages leave behind when they are done is not ours.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning"),
]


def test_trackio_holds_every_metric_by_step_the_settings_and_the_answers(tmp_path: Path, capsys):
    track("trackio", tmp_path / "run", run="once")
    from trackio.sqlite_storage import SQLiteStorage  # pyright: ignore[reportMissingImports]

    rows = SQLiteStorage.get_logs(PROJECT, "once")
    values = [{name: value for name, value in row.items() if name != "timestamp"} for row in rows]
    assert values[:3] == [{"step": at, **metrics} for at, metrics in zip((1, 2, 2), METRICS, strict=True)]
    assert values[3]["samples"]["_value"] == [{"prompt": "Hi | there?", "answer": "Hello!\nBye."}]
    settings = SQLiteStorage.get_run_config(PROJECT, "once")
    assert {name: value for name, value in settings.items() if not name.startswith("_")} == {"beta": 0.1}
    assert capsys.readouterr() == ("", "")  # it prints, and a bar or a program would be in the way


def test_a_run_that_is_continued_is_the_same_run_at_trackio(tmp_path: Path):
    track("trackio", tmp_path / "run", run="twice")
    track("trackio", tmp_path / "run", run="twice", step=2)
    from trackio.sqlite_storage import SQLiteStorage  # pyright: ignore[reportMissingImports]

    steps = [row["step"] for row in SQLiteStorage.get_logs(PROJECT, "twice") if "loss" in row]
    assert steps == [1, 2, 3, 4]
