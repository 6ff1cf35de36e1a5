"""Whose a run folder is: made, moved aside or continued, and never overwritten."""

import pytest

from easydel.errors import ConfigError
from easydel.losses.margin import hinge
from easydel.trainers.config import DPOConfig
from easydel.trainers.record import run_folder
from easydel.trainers.record.files import append_samples, read_samples
from easydel.trainers.record.run_folder import RunFolder, check_apart, hold


@pytest.fixture
def config(tmp_path):
    return lambda **settings: DPOConfig(save_directory=str(tmp_path / "runs"), model_name="mine", **settings)


def open_run_folder(config: DPOConfig) -> RunFolder:
    with hold(config):
        return run_folder.open_run_folder(config)


def test_a_new_run_gets_a_folder_with_its_configuration(config):
    folder = open_run_folder(config(beta=0.3))
    assert (folder.continues, folder.moved) == (False, None)
    assert folder.checkpoints == folder.path / "checkpoints"
    assert DPOConfig.from_yaml(folder.path / "config.yaml") == config(beta=0.3)


def test_an_earlier_run_is_moved_aside_again_and_again(config):
    for number in range(3):
        path = open_run_folder(config()).path
        (path / "note").write_text(str(number))
    folder = open_run_folder(config())
    assert folder.moved == path.with_name("mine.3")
    assert [path.with_name(f"mine.{number}").joinpath("note").read_text() for number in (1, 2, 3)] == ["0", "1", "2"]
    assert not (folder.path / "note").exists()


def test_what_a_run_reads_may_not_lie_in_its_own_folder(config, tmp_path, monkeypatch):
    """It would be moved aside, and adapters on the model of the earlier run would name themselves as their base."""
    monkeypatch.chdir(tmp_path)
    folder = open_run_folder(config()).path
    (folder / "model").mkdir()
    (tmp_path / "link").symlink_to(folder / "model")
    for place in (str(folder / "model"), "runs/mine/model", "link", str(folder), "runs/../runs/mine"):
        with pytest.raises(
            ConfigError, match=f"repo_id '{place}' lies in the folder of this run, .*another model_name"
        ):
            check_apart(config(), [("repo_id", place)])
    (folder.parent / "mine.1").mkdir()
    check_apart(config(), [("repo_id", str(folder.parent / "mine.1")), ("revision", ""), ("dataset_name", "me/mine")])


def test_an_empty_folder_is_not_an_earlier_run(config):
    config().run_folder.mkdir(parents=True)
    assert open_run_folder(config()).moved is None


def test_resuming_the_same_configuration_continues(config):
    assert not open_run_folder(config(resume="auto", learning_rate=5e-7)).continues  # nothing was there
    folder = open_run_folder(config(resume="auto", learning_rate=5e-7, loss_type="sigmoid"))
    assert (folder.continues, folder.moved) == (True, None)


def test_resuming_with_a_loss_of_ones_own_continues(config):
    open_run_folder(config(loss_type=hinge))
    assert open_run_folder(config(loss_type=hinge, resume="auto")).continues


def test_resuming_with_other_settings_names_each_and_changes_nothing(config):
    path = open_run_folder(config(beta=0.1)).path
    before = (path / "config.yaml").read_text()
    with pytest.raises(ConfigError, match="other settings") as error:
        open_run_folder(config(beta=0.2, optimizer="lion", resume="auto"))
    assert "beta was 0.1, is 0.2 now; optimizer was 'adamw', is 'lion' now" in str(error.value)
    assert "resume = 'never'" in str(error.value)
    assert (path / "config.yaml").read_text() == before


def test_what_a_run_shows_or_keeps_may_change_when_it_is_continued(config):
    open_run_folder(config())
    changed = config(resume="auto", log_steps=1, save_steps=5, progress_bar_type="none", evaluation_steps=2)
    assert open_run_folder(changed).continues


@pytest.mark.parametrize("length", [{"num_train_epochs": 5}, {"num_train_epochs": 0.5}, {"max_training_steps": 9}])
def test_a_run_may_be_made_longer_or_shorter(config, length):
    open_run_folder(config(scheduler="cosine", warmup_ratio=0.1))
    assert open_run_folder(config(scheduler="cosine", warmup_ratio=0.1, **length, resume="auto")).continues


def test_a_folder_that_cannot_be_made_is_an_error_with_its_path(config, tmp_path):
    (tmp_path / "runs").write_text("a file where the folders should be")
    with pytest.raises(ConfigError, match=r"run folder .*mine cannot be used: .* Set save_directory"):
        open_run_folder(config())


def test_samples_come_back_oldest_first(tmp_path):
    assert read_samples(tmp_path) == []
    first, second = ({"step": step, "prompt": "é\n<b>", "answer": "ok"} for step in (0, 5))
    append_samples(tmp_path, [first])
    append_samples(tmp_path, [second])
    assert read_samples(tmp_path) == [first, second]
