"""A run that is continued ends as one that was never cut off, and is refused where it is another run."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import easydel as ed
from easydel.trainers.fingerprints import pairs_fingerprint, two_vectors_fingerprint
from easydel.trainers.record.files import read_metrics
from oracles.runs import config, id_rows, logged, same_bits, tiny_model, trainer


@pytest.mark.exact
def test_a_run_that_was_cut_off_continues_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"num_train_epochs": 2, "save_steps": 2, "sync_ref_model": True, "ref_model_sync_steps": 2}
    straight = trainer(tmp_path / "straight", **options).train()

    cut_off = trainer(tmp_path / "cut", **options)
    moves: list[int] = []

    def die_after_five_steps(step: int, policy: Any, move: Any = cut_off.reference.after_step) -> None:
        moves.append(step)
        if step == 5:
            raise KeyboardInterrupt
        move(step, policy)

    monkeypatch.setattr(cut_off.reference, "after_step", die_after_five_steps)
    with pytest.raises(KeyboardInterrupt):
        cut_off.train()

    resumed = trainer(tmp_path / "cut", resume="auto", **options).train()
    assert same_bits(resumed.model.params, straight.model.params)
    assert logged(tmp_path / "cut", "loss") == logged(tmp_path / "straight", "loss")
    assert logged(tmp_path / "cut", "num_tokens") == logged(tmp_path / "straight", "num_tokens")


def test_a_run_that_was_cut_off_before_any_checkpoint_starts_again_and_logs_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def evaluated(**options: Any) -> ed.DPOTrainer:
        arguments = config(tmp_path, max_training_steps=2, do_last_save=False, **options)
        return ed.DPOTrainer(
            arguments=arguments, model=tiny_model(), train_dataset=id_rows(8), eval_dataset=id_rows(3, seed=1)
        )

    cut_off = evaluated()
    monkeypatch.setattr(cut_off.reference, "after_step", lambda step, policy: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        cut_off.train()
    evaluated(resume="auto").train()
    assert [entry["step"] for entry in read_metrics(tmp_path / "dpo")] == [0, 1, 2, 2]


def test_a_run_can_be_made_longer_while_its_learning_rate_is_constant(tmp_path: Path) -> None:
    straight = trainer(tmp_path / "straight", num_train_epochs=2).train()
    trainer(tmp_path / "longer").train()
    longer = trainer(tmp_path / "longer", num_train_epochs=2, resume="auto").train()
    assert same_bits(longer.model.params, straight.model.params)


def test_resuming_with_other_settings_names_what_differs(tmp_path: Path) -> None:
    trainer(tmp_path, max_training_steps=1).train()
    with pytest.raises(ed.ConfigError, match=r"beta was 0\.1, is 0\.3 now"):
        trainer(tmp_path, max_training_steps=1, beta=0.3, resume="auto").train()


def test_resuming_with_other_data_is_refused(tmp_path: Path) -> None:
    trainer(tmp_path, max_training_steps=1).train()
    with pytest.raises(
        ed.ConfigError, match=r"training pairs were [0-9a-f]{16}, are [0-9a-f]{16} now\. Give it the same data"
    ):
        ed.DPOTrainer(
            arguments=config(tmp_path, max_training_steps=1, resume="auto"),
            model=tiny_model(),
            train_dataset=id_rows(12, seed=5),
        )


def test_resuming_from_another_starting_model_is_refused(tmp_path: Path) -> None:
    trainer(tmp_path, max_training_steps=1).train()
    with pytest.raises(
        ed.ConfigError, match=r"reference weights were [0-9a-f]{16}, are [0-9a-f]{16} now\. Give it the model"
    ):
        ed.DPOTrainer(
            arguments=config(tmp_path, max_training_steps=1, resume="auto"),
            model=tiny_model(seed=7),
            train_dataset=id_rows(12),
        )


def test_resuming_past_the_end_is_refused(tmp_path: Path) -> None:
    trainer(tmp_path, max_training_steps=2).train()
    with pytest.raises(ed.ConfigError, match=r"step 2 .* past the 1 steps"):
        trainer(tmp_path, max_training_steps=1, resume="auto").train()


@pytest.mark.exact
def test_a_run_that_is_longer_now_follows_its_schedule_to_another_end_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {"scheduler": "linear", "progress_bar_type": "tqdm"}
    trainer(tmp_path, **options).train()
    before = logged(tmp_path, "loss")
    capsys.readouterr()
    longer = trainer(tmp_path, num_train_epochs=2, resume="auto", **options).train()
    said = " ".join(capsys.readouterr().out.split())
    assert (
        "The run has 6 steps in place of 3 (num_train_epochs was 1, is 2 now). scheduler 'linear' depends on how many: "
        "the learning rate of step 4 is 0.005, and was to be 0; that of the steps before stays what it was."
    ) in said
    assert longer.steps == 6
    assert logged(tmp_path, "loss")[:3] == before
    # By the definition of the schedule: peak times the share of six steps that is left.
    expected = [1e-2 * left for left in (1, 2 / 3, 1 / 3)] + [1e-2 * left / 6 for left in (3, 2, 1)]
    assert logged(tmp_path, "learning_rate") == pytest.approx(expected)


def test_a_run_may_end_at_any_step_that_its_checkpoints_have_not_passed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {"save_steps": 1, "progress_bar_type": "tqdm"}
    trainer(tmp_path, rows=40, max_training_steps=2, **options).train()
    shorter = ed.DPOTrainer(
        arguments=config(tmp_path, num_train_epochs=0.3, resume="auto", **options),
        model=tiny_model(),
        train_dataset=id_rows(40),
    )
    assert shorter.train().steps == 3
    out = " ".join(capsys.readouterr().out.split())
    assert (
        "The run has 3 steps in place of 2 (num_train_epochs was 1, is 0.3 now, max_training_steps was 2, is None now)."
    ) in out
    assert "depends on how many" not in out


def test_a_checkpoint_of_format_version_1_continues_and_what_it_knows_is_compared(tmp_path: Path) -> None:
    options = {"save_steps": 1, "frozen_parameters": "embed_tokens", "reference_model": tiny_model(seed=3)}

    def run(rows: int = 12, **changes: Any) -> ed.DPOTrainer:
        given = {**options, **changes}
        named = {name: given.pop(name) for name in ("reference_model", "model") if name in given}
        model = named.pop("model", tiny_model())
        return ed.DPOTrainer(arguments=config(tmp_path, **given), model=model, train_dataset=id_rows(rows), **named)

    first = run(max_training_steps=2)
    first.train()
    (tmp_path / "dpo" / "fingerprints.json").unlink()
    progress = tmp_path / "dpo" / "checkpoints" / "2" / "progress" / "metadata"
    known = {
        "format_version": 1,
        "data": pairs_fingerprint(first._plan.data.loader.pairs),
        "reference": two_vectors_fingerprint(first.reference.params),
        "frozen": two_vectors_fingerprint(first._plan.frozen),
    }
    progress.write_text(json.dumps({**json.loads(progress.read_text()), **known}))
    kept = tmp_path / "kept"
    shutil.copytree(tmp_path / "dpo", kept)
    refused: list[tuple[dict[str, Any], str]] = [
        ({"rows": 16}, "training pairs were"),
        ({"reference_model": tiny_model(seed=4)}, "reference weights were"),
        ({"model": tiny_model(seed=5)}, "frozen weights were"),
    ]
    for change, message in refused:
        shutil.rmtree(tmp_path / "dpo")
        shutil.copytree(kept, tmp_path / "dpo")
        with pytest.raises(ed.ConfigError, match=message):
            run(resume="auto", **change).train()
    shutil.rmtree(tmp_path / "dpo")
    shutil.copytree(kept, tmp_path / "dpo")
    assert run(resume="auto").train().steps == 3
    newest = tmp_path / "dpo" / "checkpoints" / "3" / "progress" / "metadata"
    assert json.loads(newest.read_text())["format_version"] == 2
    assert (tmp_path / "dpo" / "fingerprints.json").exists()
