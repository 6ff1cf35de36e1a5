"""A run at a tracker, and what the files of wandb and tensorboard hold of it; the packages are extras."""

import json
import time
from pathlib import Path

import pytest

from easydel.trainers.record.tracker import About
from easydel.trainers.record.trackers import Trackers
from oracles.event_files import tensorboard_records, wandb_records

SAMPLES = [{"step": 2, "prompt": "Hi | there?", "answer": "Hello!\nBye."}]
METRICS = [{"loss": 0.7, "rewards/margins": 0.0}, {"loss": 0.5, "rewards/margins": 0.25}, {"eval_loss": 0.6}]


def track(name: str, folder: Path, *, run: str = "mine", step: int = 0, **about: str) -> None:
    """Logs two steps, an evaluation and an answer with one tracker."""
    folder.mkdir(exist_ok=True)
    trackers = Trackers([name], About(folder, run, {"beta": 0.1, "hub_token": "hf_secret"}, step=step, **about))
    for at, metrics in zip((1, 2, 2), METRICS, strict=True):
        trackers.log(step + at, metrics)
    trackers.samples(step + 2, SAMPLES)
    trackers.finish(failed=False)


def wandb_files(folder: Path) -> dict[str, list]:
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


def wandb_history(records: dict[str, list]) -> list[dict]:
    rows = []
    for entry in records["history"]:
        values = {item.key or item.nested_key[0]: json.loads(item.value_json) for item in entry.item}
        rows.append({name: value for name, value in values.items() if not name.startswith("_") or name == "_step"})
    return rows


def tensorboard_files(folder: Path) -> tuple[list[tuple], dict[str, str]]:
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
