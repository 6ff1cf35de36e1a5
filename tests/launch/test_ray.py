"""Two workers of Ray train together, where Ray is installed."""

import math
import sys

import pytest

from easydel.launch import ray as launcher
from easydel.trainers.record.files import read_metrics


def test_what_is_asked_of_the_launcher_is_said(capsys):
    assert launcher.main(["--repo_id", "x"]) == 2
    assert "usage: python -m easydel.launch.ray --workers N" in capsys.readouterr().err


def test_a_mistake_in_the_arguments_is_found_before_ray_is_asked_for_anything(capsys):
    assert launcher.main(["--workers", "2", "--beeta", "0.1"]) == 2
    assert capsys.readouterr().err == "error: unknown flag --beeta. Did you mean --beta?\n"


def test_where_ray_is_not_installed_the_extra_is_named(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray.train", None)  # importing it fails
    assert launcher.main(["--workers", "2"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: Ray Train is not installed (")
    assert said.endswith("install it with `pip install 'easydel-dpo[ray]'`.\n")


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_two_workers_train_together(tmp_path):
    ray = pytest.importorskip("ray", reason="needs the extra ray")
    flags = {"save_directory": tmp_path, "max_training_steps": 2, "total_batch_size": 4, "max_length": 64}
    flags |= {"generation_prompts": 0, "max_evaluation_steps": 1, "evaluation_steps": 2, "warmup_steps": 0}
    try:
        launcher.train([f"--{name}={value}" for name, value in flags.items()], workers=2)
    finally:
        ray.shutdown()
    entries = read_metrics(tmp_path / "quickstart")
    assert [entry["step"] for entry in entries] == [0, 2, 2]  # once each: the workers have joined
    assert entries[0]["eval_loss"] == pytest.approx(math.log(2), abs=1e-6)
