"""Evaluation: means over pairs and not over batches, of each set on its own."""

from pathlib import Path

import pytest

import easydel as ed
from easydel.trainers.record.files import read_json
from oracles.runs import config, held_out_trainer, id_rows, tiny_model, trainer


def test_evaluation_weights_pairs_not_batches(tmp_path: Path) -> None:
    found = []
    for size in (2, 3, 5):
        run = ed.DPOTrainer(
            arguments=config(tmp_path, eval_batch_size=size, loss_type="ipo"),
            model=tiny_model(),
            reference_model=tiny_model(seed=1),
            eval_dataset=id_rows(5),
        )
        found.append(run.evaluate())
    for other in found[1:]:  # a reward is the small difference of two sums
        assert other == pytest.approx(found[0], rel=1e-5, abs=1e-6)


def test_the_loss_of_held_out_pairs_that_are_compared_does_not_depend_on_their_batches(tmp_path: Path) -> None:
    losses = []
    for size in (2, 5):
        run = ed.DPOTrainer(
            arguments=config(tmp_path, eval_batch_size=size, loss_type="aot_unpaired"),
            model=tiny_model(),
            reference_model=tiny_model(seed=1),
            eval_dataset=id_rows(5),
        )
        losses.append(run.evaluate()["eval_loss"])
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)


def test_each_held_out_set_has_metrics_of_its_own(tmp_path, capsys):
    easy, hard = id_rows(3, seed=1), id_rows(2, seed=2)
    run = held_out_trainer(
        tmp_path,
        {"easy": easy, "hard": hard},
        max_training_steps=1,
        progress_bar_type="tqdm",
        best_metric="eval_hard_loss",
    )
    result = run.train()
    for name, rows in (("easy", easy), ("hard", hard)):
        alone = run.evaluate(rows)
        assert {f"eval_{name}_{key.removeprefix('eval_')}": pytest.approx(alone[key], rel=1e-5) for key in alone} == {
            key: value for key, value in result.metrics.items() if key.startswith(f"eval_{name}_")
        }
    assert "eval_loss" not in result.metrics
    assert run.evaluate() == run.evaluate({"easy": easy, "hard": hard})
    shown = capsys.readouterr().out
    for words in ("rows, eval, hard  2 of 2 rows kept", "step 1/1  eval_easy_loss", "step 1/1  eval_hard_loss"):
        assert words in shown
    assert result.summary.split("\n")[0].split() == ["train", "easy", "hard"]
    assert list(read_json(tmp_path / "dpo" / "data.json")) == ["train", "eval_easy", "eval_hard"]
    assert "eval, hard" in (tmp_path / "dpo" / "report.html").read_text()


def test_the_limits_of_evaluation_hold_for_rows_of_ones_own_too(tmp_path):
    rows = id_rows(5, seed=1)
    run = trainer(tmp_path, eval_batch_size=2, max_evaluation_steps=2)
    assert run.evaluate(rows) == run.evaluate(rows[:4])
    assert run.evaluate({"a": rows}) == {
        name.replace("eval_", "eval_a_"): value for name, value in run.evaluate(rows).items()
    }
