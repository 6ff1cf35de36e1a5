"""What a run says and cannot write costs it nothing else: it goes on, and says at its end what is missing."""

import errno
import os
import shutil
from pathlib import Path

import pytest

from easydel.display.display import SILENT
from easydel.errors import ConfigError
from easydel.trainers import dpo, model_export
from easydel.trainers.record import files
from easydel.trainers.record.files import read_metrics
from easydel.trainers.record.unwritten import keep, named_at_the_end, spared, unwritten
from oracles.runs import held_out_trainer, same_bits, scripted


def full(*given: object, **named: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def fail(file: Path) -> None:
    with spared(file, "Wait."):
        full()


def test_a_failure_is_one_warning_and_is_forgotten_once_it_is_made_good(tmp_path, capsys):
    file = tmp_path / "x.json"
    with named_at_the_end(SILENT):
        with pytest.warns(UserWarning, match=r"x\.json could not be written: No space left on device\. Wait"):
            fail(file)
        fail(file)  # a second warning would be an error
        assert unwritten() == {str(file): "No space left on device. Wait."}
        with spared(file, "Wait."):
            pass
        assert unwritten() == {}
        keep("wandb", "gone")
    assert capsys.readouterr().err == "warning: not written: wandb: gone\n"
    with named_at_the_end(SILENT):
        assert unwritten() == {}


@pytest.mark.filterwarnings("ignore:.* could not be written")
def test_a_run_whose_records_cannot_be_written_ends_as_any_other(tmp_path, monkeypatch, capsys):
    options = {"num_train_epochs": 2, "evaluation_steps": 2, "best_metric": "eval_loss", "load_best_at_end": True}
    straight = held_out_trainer(tmp_path / "straight", **options).train()
    run, folder = held_out_trainer(tmp_path / "full", **options), tmp_path / "full" / "dpo"
    go_on = run.reference.after_step

    def sabotage(step: int, policy: object) -> None:
        if step == 1:
            monkeypatch.setattr(files, "_append", full)
            for name in ("data.json", "best.json", "run.json", "report.html"):
                (folder / name).unlink(missing_ok=True)
                (folder / name).mkdir()
        go_on(step, policy)

    monkeypatch.setattr(run.reference, "after_step", sabotage)
    monkeypatch.setattr(model_export, "write_card", full)
    result = run.train()
    assert same_bits(result.model.params, straight.model.params)
    assert {Path(name).name for name in result.not_written} == {
        *("metrics.jsonl", "data.json", "best.json", "run.json", "report.html", "README.md")
    }
    assert "not written  " in result.summary
    said = capsys.readouterr().err
    assert said.count("warning: not written: ") == 6
    assert f"{folder / 'metrics.jsonl'}: No space left on device. Make room" in said
    assert (folder / "model" / "model.safetensors").exists()


def test_a_log_with_gaps_is_continued(tmp_path, monkeypatch):
    options = {"evaluation_steps": 1, "best_metric": "eval_loss", "save_steps": 1, "do_last_save": False}
    straight = held_out_trainer(tmp_path / "straight", num_train_epochs=2, **options).train()
    held_out_trainer(tmp_path / "gaps", num_train_epochs=1, **options).train()
    file = tmp_path / "gaps" / "dpo" / "metrics.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[:1] + lines[3:5]))
    resumed = held_out_trainer(tmp_path / "gaps", num_train_epochs=2, resume="auto", **options).train()
    assert same_bits(resumed.model.params, straight.model.params)
    steps = [entry["step"] for entry in read_metrics(tmp_path / "gaps" / "dpo")]
    assert steps == sorted(steps)
    assert steps[-1] == 6
    assert 1 not in steps


@pytest.mark.filterwarnings("ignore:.* could not be written")
def test_a_log_that_cannot_be_read_is_continued_without_it(tmp_path):
    options = {"evaluation_steps": 1, "best_metric": "eval_loss", "do_last_save": False}
    straight = held_out_trainer(tmp_path / "straight", num_train_epochs=2, **options).train()
    held_out_trainer(tmp_path / "unread", num_train_epochs=1, **options).train()
    file = tmp_path / "unread" / "dpo" / "metrics.jsonl"
    file.unlink()
    file.mkdir()
    resumed = held_out_trainer(tmp_path / "unread", num_train_epochs=2, resume="auto", **options).train()
    assert same_bits(resumed.model.params, straight.model.params)
    assert "Is a directory" in resumed.not_written[str(file)]


@pytest.mark.filterwarnings("ignore:.* could not be written")
def test_later_steps_that_cannot_be_cut_off_a_log_are_not_used(tmp_path, monkeypatch):
    options = {"evaluation_steps": 1, "best_metric": "eval_loss", "save_steps": 1, "do_last_save": False}
    run = held_out_trainer(tmp_path, num_train_epochs=2, **options)
    scripted(run, {step: float(step == 0) if step < 6 else -1.0 for step in range(7)}, monkeypatch).train()
    shutil.rmtree(tmp_path / "dpo" / "checkpoints" / "6")
    monkeypatch.setattr(files.os, "truncate", full)
    monkeypatch.setattr(files, "_append", full)
    resumed = held_out_trainer(tmp_path, num_train_epochs=2, resume="auto", **options)
    assert scripted(resumed, {6: 0.5}, monkeypatch).train().best_step == 1


def test_an_upload_that_fails_at_the_end_leaves_the_result(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(dpo, "requested_repository", lambda config: "me/x")

    def refuse(folder: Path, repository: str) -> str:
        raise ConfigError(f"{folder.name} could not be uploaded to {repository}.")

    monkeypatch.setattr(dpo, "upload", refuse)
    result = held_out_trainer(tmp_path, push_to_hub=True, max_training_steps=1).train()
    assert result.not_written == {"hub": "model could not be uploaded to me/x."}
    assert "warning: not written: hub: model could not be uploaded to me/x." in capsys.readouterr().err
    assert (tmp_path / "dpo" / "model" / "model.safetensors").exists()


def test_a_model_that_cannot_be_written_names_the_checkpoint_that_has_it(tmp_path, monkeypatch):
    run = held_out_trainer(tmp_path, max_training_steps=1)
    monkeypatch.setattr(dpo, "export_model", full)
    with pytest.raises(OSError, match=r"No space left on device Its weights are in .*checkpoints/1: resume = 'auto'"):
        run.train()
    monkeypatch.undo()
    held_out_trainer(tmp_path, max_training_steps=1, resume="auto").train()
    assert (tmp_path / "dpo" / "model" / "model.safetensors").exists()
