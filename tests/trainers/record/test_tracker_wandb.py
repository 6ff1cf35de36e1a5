"""The real wandb writing real files, without a network and without an account; see `make trackers`."""

import json
import time
from pathlib import Path

import pytest

from easydel.display.display import make_display
from easydel.trainers.record.tracker import PROJECT, About
from easydel.trainers.record.trackers import Trackers
from oracles.tracked import METRICS, track, wandb_files, wandb_history

pytestmark = [
    pytest.mark.trackers,
    pytest.mark.usefixtures("nobody"),
    # What the packages leave behind when they are done is not ours.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning"),
]


def test_wandb_holds_every_metric_by_step_the_settings_and_the_answers(tmp_path: Path):
    track("wandb", tmp_path / "run", wandb_name="shown", wandb_entity="team")
    records = wandb_files(tmp_path / "run")
    first, second = wandb_history(records)[:2]
    assert first == {"_step": 1, **METRICS[0]}
    assert {name: second[name] for name in ("_step", "loss", "rewards/margins", "eval_loss")} == {
        "_step": 2,
        **METRICS[1],
        **METRICS[2],
    }
    (table,) = (tmp_path / "run" / "wandb").rglob("*.table.json")
    written = json.loads(table.read_text(encoding="utf-8"))
    assert written["columns"] == ["step", "prompt", "answer"]
    assert written["data"] == [[2, "Hi | there?", "Hello!\nBye."]]
    run = records["run"][0]
    assert (run.project, run.display_name, run.entity) == (PROJECT, "shown", "team")
    settings = {item.key: json.loads(item.value_json) for item in run.config.update if not item.key.startswith("_")}
    assert settings == {"beta": 0.1}
    assert [ending.exit_code for ending in records["exit"]] == [0]


def test_a_run_that_is_continued_is_the_same_run_at_wandb(tmp_path: Path):
    track("wandb", tmp_path / "run")
    time.sleep(1.1)  # its files go by the second
    track("wandb", tmp_path / "run", step=2)
    records = wandb_files(tmp_path / "run")
    assert len({run.run_id for run in records["run"]}) == 1
    assert [row["_step"] for row in wandb_history(records)] == [1, 2, 3, 4]


def test_who_is_not_logged_in_is_not_asked(tmp_path: Path, capsys):
    (tmp_path / "run").mkdir()
    Trackers(["wandb"], About(tmp_path / "run", "mine", {}), display=make_display("tqdm")).finish(failed=True)
    assert capsys.readouterr().out.startswith("wandb, offline: `wandb sync ")
    assert [ending.exit_code for ending in wandb_files(tmp_path / "run")["exit"]] == [1]
