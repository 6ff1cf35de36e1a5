"""A run that logs to all trackers at once, with the real packages; see `make trackers`."""

import json
from pathlib import Path

import pytest

from easydel.trainers.record.tracker import PROJECT
from oracles.runs import logged, trainer
from oracles.tracked import tensorboard_files, wandb_files, wandb_history

pytestmark = [
    pytest.mark.trackers,
    pytest.mark.usefixtures("nobody"),
    # What the packages leave behind when they are done is not ours.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning"),
]


def test_a_run_logs_to_all_of_them_and_says_where_to_look(tmp_path: Path, capsys):
    run = trainer(tmp_path, report_to=["wandb", "trackio", "tensorboard"], progress_bar_type="json", model_name="all")
    run.train()
    losses = logged(tmp_path, "loss", run="all")
    assert [row["loss"] for row in wandb_history(wandb_files(tmp_path / "all"))] == losses
    numbers, texts = tensorboard_files(tmp_path / "all")
    assert [value for _, name, value in numbers if name == "loss"] == losses
    assert "| trained_parameters |" in texts["settings/text_summary"]
    from trackio.sqlite_storage import SQLiteStorage  # pyright: ignore[reportMissingImports]

    assert [row["loss"] for row in SQLiteStorage.get_logs(PROJECT, "all") if "loss" in row] == losses
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    said = " ".join(event["text"] for event in events if event["event"] == "message")
    for words in ("wandb sync ", "trackio show --project", "tensorboard --logdir"):
        assert words in said
