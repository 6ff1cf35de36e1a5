"""A run that is killed again and again ends as one that never was: the same weights, and every step logged once."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from easydel.trainers.log import read_metrics
from oracles.runs import held_out_trainer

RUN = {
    "save_steps": 1,
    "save_total_limit": 2,
    "log_steps": 7,
    "evaluation_steps": 5,
    "best_metric": "eval_loss",
    "sync_ref_model": True,
    "ref_model_sync_steps": 4,
    "scheduler": "cosine",
}
CHILD = f"""
import sys
from pathlib import Path
from oracles.runs import held_out_trainer
held_out_trainer(Path(sys.argv[1]), resume="auto", num_train_epochs=int(sys.argv[2]), **{RUN!r}).train()
"""
KILLS = int(os.environ.get("EASYDEL_KILLS", "2"))  # `make survive` asks for more
EPOCHS = 4 + KILLS  # of three steps


def start(folder: Path) -> subprocess.Popen[str]:
    """Starts or continues the run in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", CHILD, str(folder), str(EPOCHS)]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


def kill_about(process: subprocess.Popen[str], checkpoints: Path, step: int, delay: float) -> None:
    """Kills a process that writes a checkpoint at every step, so long after it has begun to write that of a step."""
    while process.poll() is None and not any(checkpoints.glob(f"{step}*")):
        time.sleep(0.001)
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    _, complaints = process.communicate()
    assert process.returncode == -signal.SIGKILL, complaints


def without_clock(folder: Path) -> list[dict[str, Any]]:
    clocked = ("step_time", "memory")
    return [
        {name: value for name, value in entry.items() if name not in clocked and not name.endswith("_per_second")}
        for entry in read_metrics(folder / "dpo")
    ]


@pytest.mark.slow
def test_a_run_that_is_killed_at_random_moments_ends_as_one_that_never_was(tmp_path):
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    held_out_trainer(straight, num_train_epochs=EPOCHS, **RUN).train()
    dice = random.Random(KILLS)
    for step in sorted(dice.sample(range(2, 3 * EPOCHS - 3), KILLS)):
        kill_about(start(killed), killed / "dpo" / "checkpoints", step, dice.uniform(0.0, 0.06))
    process = start(killed)
    _, complaints = process.communicate()
    assert process.returncode == 0, complaints
    for name in ("model/model.safetensors", "best.json"):
        assert (killed / "dpo" / name).read_bytes() == (straight / "dpo" / name).read_bytes()
    assert without_clock(killed) == without_clock(straight)
    kept = [sorted(path.name for path in (folder / "dpo" / "checkpoints").iterdir()) for folder in (killed, straight)]
    assert kept[0] == kept[1]
