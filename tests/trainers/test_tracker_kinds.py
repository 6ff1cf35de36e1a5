"""The real packages writing real files, without a network and without an account; see `make trackers`."""

import json
import os
import tempfile
import time
from pathlib import Path

import pytest

# Read by trackio when it is imported.
os.environ["TRACKIO_DIR"] = tempfile.mkdtemp(prefix="easydel-trackio-")

from easydel.display.display import make_display
from easydel.trainers.tracker_kinds import PROJECT, About
from easydel.trainers.trackers import Trackers
from oracles.event_files import tensorboard_records, wandb_records
from oracles.runs import logged, trainer

pytestmark = [
    pytest.mark.trackers,
    # What the packages leave behind when they are done is not ours.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning"),
]
SAMPLES = [{"step": 2, "prompt": "Hi | there?", "answer": "Hello!\nBye."}]
METRICS = [{"loss": 0.7, "rewards/margins": 0.0}, {"loss": 0.5, "rewards/margins": 0.25}, {"eval_loss": 0.6}]


@pytest.fixture(autouse=True)
def nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes this the machine of somebody who is logged in nowhere."""
    home = tmp_path / "home"
    home.mkdir()
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("NETRC", str(home / "netrc"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(home / "wandb"))


def track(name: str, folder: Path, *, run: str = "mine", step: int = 0, **about: str) -> None:
    """Logs two steps, an evaluation and an answer with one tracker."""
    folder.mkdir(exist_ok=True)
    trackers = Trackers([name], About(folder, run, {"beta": 0.1, "hub_token": "hf_secret"}, step=step, **about))
    for at, metrics in zip((1, 2, 2), METRICS, strict=True):
        trackers.log(step + at, metrics)
    trackers.samples(step + 2, SAMPLES)
    trackers.finish(failed=False)


def of_wandb(folder: Path) -> dict[str, list]:
    """Returns what the files of wandb in a run folder hold, by kind of record.

    Its own process writes them, and may do so until after the end of the run.
    """
    from wandb.proto.wandb_internal_pb2 import Record  # pyright: ignore[reportMissingImports]

    files = sorted(folder.glob("wandb/offline-run-*/*.wandb"))
    found: dict[str, list] = {}
    for _ in range(300):
        found = {}
        for record in (Record.FromString(data) for file in files for data in wandb_records(file)):
            kind = record.WhichOneof("record_type")
            found.setdefault(kind, []).append(getattr(record, kind))
        if len(found.get("exit", [])) == len(files):
            break
        time.sleep(0.1)
    return found


def history(records: dict[str, list]) -> list[dict]:
    rows = []
    for entry in records["history"]:
        values = {item.key or item.nested_key[0]: json.loads(item.value_json) for item in entry.item}
        rows.append({name: value for name, value in values.items() if not name.startswith("_") or name == "_step"})
    return rows


def test_wandb_holds_every_metric_by_step_the_settings_and_the_answers(tmp_path: Path):
    track("wandb", tmp_path / "run", wandb_name="shown", wandb_entity="team")
    records = of_wandb(tmp_path / "run")
    first, second = history(records)[:2]
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
    records = of_wandb(tmp_path / "run")
    assert len({run.run_id for run in records["run"]}) == 1
    assert [row["_step"] for row in history(records)] == [1, 2, 3, 4]


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


def of_tensorboard(folder: Path) -> tuple[list[tuple], dict[str, str]]:
    """Returns (step, name, value) of every number in the event files of a run folder, and the texts by name."""
    from tensorboardX.proto.event_pb2 import Event  # pyright: ignore[reportMissingImports]

    numbers, texts = [], {}
    for file in sorted((folder / "tensorboard").iterdir()):
        for event in map(Event.FromString, tensorboard_records(file)):
            for value in event.summary.value:
                if value.HasField("tensor"):
                    texts[value.tag] = value.tensor.string_val[0].decode()
                else:
                    numbers.append((event.step, value.tag, pytest.approx(value.simple_value)))
    return numbers, texts


def test_tensorboard_holds_every_metric_by_step_the_settings_and_the_answers(tmp_path: Path):
    track("tensorboard", tmp_path / "run")
    numbers, texts = of_tensorboard(tmp_path / "run")
    assert numbers == [
        (at, name, value) for at, metrics in zip((1, 2, 2), METRICS, strict=True) for name, value in metrics.items()
    ]
    assert texts["settings/text_summary"].splitlines()[2:] == ["| beta | 0.1 |"]
    assert texts["samples/text_summary"].splitlines()[2:] == ["| Hi \\| there? | Hello!<br>Bye. |"]


def test_a_run_logs_to_all_of_them_and_says_where_to_look(tmp_path: Path, capsys):
    run = trainer(tmp_path, report_to=["wandb", "trackio", "tensorboard"], progress_bar_type="json", model_name="all")
    run.train()
    losses = logged(tmp_path, "loss", run="all")
    assert [row["loss"] for row in history(of_wandb(tmp_path / "all"))] == losses
    numbers, texts = of_tensorboard(tmp_path / "all")
    assert [value for _, name, value in numbers if name == "loss"] == losses
    assert "| trained_parameters |" in texts["settings/text_summary"]
    from trackio.sqlite_storage import SQLiteStorage  # pyright: ignore[reportMissingImports]

    assert [row["loss"] for row in SQLiteStorage.get_logs(PROJECT, "all") if "loss" in row] == losses
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    said = " ".join(event["text"] for event in events if event["event"] == "message")
    for words in ("wandb sync ", "trackio show --project", "tensorboard --logdir"):
        assert words in said


def test_who_is_not_logged_in_is_not_asked(tmp_path: Path, capsys):
    (tmp_path / "run").mkdir()
    Trackers(["wandb"], About(tmp_path / "run", "mine", {}), display=make_display("tqdm")).finish(failed=True)
    assert capsys.readouterr().out.startswith("wandb, offline: `wandb sync ")
    assert [ending.exit_code for ending in of_wandb(tmp_path / "run")["exit"]] == [1]
