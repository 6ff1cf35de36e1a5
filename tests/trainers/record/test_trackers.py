"""A tracker that is missing, breaks or hangs, as far as a run notices it."""

import subprocess
import sys
import threading
import warnings
from pathlib import Path

import pytest

from easydel.display.display import make_display
from easydel.trainers.config import DPOConfig
from easydel.trainers.options.trackers import TRACKERS
from easydel.trainers.record import trackers
from easydel.trainers.record.tracker import About
from easydel.trainers.record.trackers import Trackers, without_secrets
from oracles.runs import logged, trainer

ABOUT = About(Path("run"), "mine", {"beta": 0.1, "hub_token": "hf_secret"})


class Recorded:
    """A tracker that keeps what it is told, and may fail at some call."""

    where = "recorded: here"
    told: list

    def __init__(self, about: About, fail_at: str = "") -> None:
        self.told, self._fail_at = [("start", about.settings)], fail_at
        self._call("start")

    def log(self, step, metrics) -> None:
        self.told.append((step, metrics))
        self._call("log")

    def samples(self, step, samples) -> None:
        self.told.append((step, samples))

    def finish(self, *, failed: bool) -> None:
        self.told.append(("finish", failed))
        self._call("finish")

    def _call(self, name: str) -> None:
        if name == self._fail_at:
            raise RuntimeError("the server\n is gone")


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> dict[str, Recorded]:
    """Puts recorded trackers in the place of wandb and trackio; a test may make one that fails."""
    made: dict[str, Recorded] = {}

    def start(name: str, fail_at: str):
        def begin(about: About) -> Recorded:
            made[name] = Recorded(about, fail_at)
            return made[name]

        return begin

    def use(**fail_at: str) -> None:
        made = {name: start(name, at) for name, at in fail_at.items()}
        monkeypatch.setattr(trackers, "start", lambda name, about: made[name](about))
        monkeypatch.setattr(trackers, "TRACKERS", dict.fromkeys(fail_at, "json"))  # one that is installed

    made["use"] = use  # pyright: ignore[reportArgumentType]
    return made


def test_a_tracker_is_told_everything_in_order_but_what_is_secret_or_no_number(recorded, capsys):
    recorded["use"](wandb="")
    running = Trackers(["wandb"], ABOUT, display=make_display("tqdm"))
    assert capsys.readouterr().out == "recorded: here\n"
    running.log(1, {"loss": 0.5, "grad_norm": float("nan")})
    running.samples(1, [{"prompt": "Hi?", "answer": "Hello!"}])
    running.finish(failed=True)
    assert recorded["wandb"].told == [
        ("start", {"beta": 0.1}),
        (1, {"loss": 0.5}),
        (1, [{"prompt": "Hi?", "answer": "Hello!"}]),
        ("finish", True),
    ]


@pytest.mark.parametrize("fail_at", ["start", "log", "finish"])
def test_a_tracker_that_fails_is_one_warning_and_the_others_go_on(recorded, fail_at):
    recorded["use"](wandb=fail_at, trackio="")
    with warnings.catch_warnings(record=True, action="always") as caught:
        running = Trackers(["wandb", "trackio"], ABOUT)
        for step in (1, 2, 3):
            running.log(step, {"loss": 0.5})
        running.finish(failed=False)
    (warning,) = caught
    assert str(warning.message) == (
        "wandb failed, and the run goes on without it; metrics.jsonl has everything: RuntimeError: the server is gone"
    )
    assert [step for step, _ in recorded["trackio"].told] == ["start", 1, 2, 3, "finish"]


def test_a_tracker_that_hangs_holds_up_neither_the_start_nor_the_steps_nor_the_end(recorded, monkeypatch):
    monkeypatch.setattr(trackers, "SECONDS_TO_START", 0.01)
    monkeypatch.setattr(trackers, "SECONDS_TO_FINISH", 0.01)
    answers = threading.Event()
    monkeypatch.setattr(trackers, "TRACKERS", {"wandb": "json"})
    monkeypatch.setattr(trackers, "start", lambda name, about: answers.wait() and Recorded(about))
    running = Trackers(["wandb"], ABOUT)
    running.log(1, {"loss": 0.5})
    with pytest.warns(UserWarning, match="wandb has not finished after"):
        running.finish(failed=False)
    answers.set()


def test_a_tracker_that_starts_late_still_says_where_to_look(monkeypatch, capsys):
    monkeypatch.setattr(trackers, "SECONDS_TO_START", 0.01)
    monkeypatch.setattr(trackers, "TRACKERS", {"wandb": "json"})
    answers = threading.Event()
    monkeypatch.setattr(trackers, "start", lambda name, about: answers.wait() and Recorded(about))
    running = Trackers(["wandb"], ABOUT, display=make_display("tqdm"))
    said = [capsys.readouterr().out]
    answers.set()
    running._lines[0].started.result(timeout=10)
    for step in (1, 2):
        running.log(step, {"loss": 0.5})
        said.append(capsys.readouterr().out)
    running.finish(failed=False)
    assert said == ["", "recorded: here\n", ""]


HANGING = """
import threading
from easydel.trainers.record import trackers
from easydel.trainers.record.tracker import About
trackers.SECONDS_TO_START = trackers.SECONDS_TO_FINISH = 0.01
trackers.TRACKERS, trackers.start = {"wandb": "json"}, lambda name, about: threading.Event().wait()
trackers.Trackers(["wandb"], About(None, "mine", {})).finish(failed=False)
"""


def test_a_process_ends_though_its_tracker_hangs():
    done = subprocess.run([sys.executable, "-c", HANGING], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert "wandb has not finished after" in done.stderr


@pytest.mark.parametrize("name", list(TRACKERS))
def test_a_tracker_that_is_not_installed_is_a_warning_with_the_command(name, monkeypatch):
    monkeypatch.setitem(sys.modules, TRACKERS[name], None)  # importing it fails
    with pytest.warns(UserWarning, match=rf"{name} was asked for .* is not installed.*\.\[{name}\]"):
        Trackers([name], ABOUT).finish(failed=False)


def test_a_run_goes_on_when_its_tracker_breaks(recorded, tmp_path: Path):
    recorded["use"](wandb="log")
    with pytest.warns(UserWarning, match="wandb failed"):
        result = trainer(tmp_path, use_wandb=True, wandb_name="shown").train()
    assert result.steps == len(logged(tmp_path, "loss")) == 3
    assert result.not_written == {"wandb": "RuntimeError: the server is gone. metrics.jsonl has everything."}
    assert recorded["wandb"].told[-1][0] != "finish"


def test_what_is_asked_for_twice_is_started_once():
    assert DPOConfig(use_wandb=True, report_to="tensorboard,wandb").trackers == ("wandb", "tensorboard")  # pyright: ignore[reportArgumentType]
    assert DPOConfig().trackers == ()


def test_secrets_are_known_by_their_names():
    settings = {"hub_token": 1, "API_KEY": 2, "Password": 3, "wandb_name": "x", "eos_token_id": 2}
    settings |= {"AWS_SECRET_ACCESS_KEY": 1, "hub_api_keys": 2, "apikey": 3, "credentials": 4}
    assert without_secrets(settings) == {"wandb_name": "x"}
    assert without_secrets(DPOConfig().to_dict()) == DPOConfig().to_dict()  # of ours none is, also not of "tokens"


def test_a_tracker_is_told_what_became_of_the_rows_and_not_what_they_say(recorded, tmp_path: Path):
    recorded["use"](wandb="")
    trainer(tmp_path, use_wandb=True).train()
    counts = recorded["wandb"].told[0][1]["data"]["train"]
    assert (counts["rows"], counts["lengths"]["prompt"]["longest"]) == (12, 2)
    assert not {"previews", "columns"} & set(counts)
