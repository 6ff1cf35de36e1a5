"""Steps that were skipped: which rows they were of, and what is done about too many of them in a row."""

from collections.abc import Iterable
from typing import Any

import jax.numpy as jnp
import pytest

import easydel as ed
from easydel.data.pack import pad
from easydel.data.pair import Pair
from easydel.trainers.record.files import read_lines, read_metrics
from easydel.trainers.skipped_steps import SkippedSteps
from oracles.runs import same_bits, trainer


def batch(*rows: int) -> Any:
    return pad([Pair([1], [2], [3], index=row) for row in rows], pad_pairs_to=4)


@pytest.mark.parametrize(("skipped", "ends"), [("0111", True), ("1101100", False), ("110111", True), ("11", False)])
def test_only_so_many_in_a_row_are_too_many(tmp_path, skipped, ends):
    steps = SkippedSteps(tmp_path, max_in_a_row=3)
    for step, flag in enumerate(skipped, start=1):
        steps.add(step, batch(step, 40), jnp.float32(flag == "1"))
    trailing = len(skipped) - len(skipped.rstrip("1"))
    assert steps.in_a_row() == trailing
    assert bool(steps.message) == ends
    written = [{"step": step, "rows": [step, 40]} for step, flag in enumerate(skipped, start=1) if flag == "1"]
    assert read_lines(tmp_path / "skipped.jsonl") == written


def test_a_row_of_them_goes_on_where_a_run_is_continued(tmp_path):
    steps = SkippedSteps(tmp_path, max_in_a_row=3, in_a_row=2)
    steps.add(7, batch(1), jnp.float32(1))
    assert steps.in_a_row() == 3
    assert "3 steps in a row, up to step 7, were skipped" in steps.message


def broken(run: ed.DPOTrainer, steps: Iterable[int], monkeypatch: pytest.MonkeyPatch) -> ed.DPOTrainer:
    """The trainer, whose reference is no number at some steps."""
    known, now = run.reference.logprobs, iter(range(1, 100))
    monkeypatch.setattr(run.reference, "logprobs", lambda *b: known(*b) * (jnp.nan if next(now) in steps else 1.0))
    return run


@pytest.mark.filterwarnings("ignore:1 of the steps up to 5")
def test_a_run_that_skips_too_many_steps_in_a_row_ends_with_their_rows_and_what_was_trained(tmp_path, monkeypatch):
    options = {"shuffle_train_dataset": False, "num_train_epochs": 5, "max_skipped_steps": 3, "do_last_save": False}
    good = trainer(tmp_path / "good", max_training_steps=4, **options).train()
    run = broken(trainer(tmp_path / "bad", **options), range(5, 16), monkeypatch)
    with pytest.raises(ed.ConfigError, match=r"3 steps in a row, up to step 7, were .*max_skipped_steps = 3") as error:
        run.train()
    file = tmp_path / "bad" / "dpo" / "skipped.jsonl"
    assert str(file) in str(error.value)
    rows = [[4, 5, 6, 7], [8, 9, 10, 11], [0, 1, 2, 3]]  # of steps 5, 6, 7: three make an epoch
    assert read_lines(file)[:3] == [{"step": step, "rows": each} for step, each in zip((5, 6, 7), rows, strict=True)]
    [saved] = (int(path.name) for path in (tmp_path / "bad" / "dpo" / "checkpoints").iterdir())
    left = trainer(tmp_path / "bad", resume="auto", **options | {"max_training_steps": saved}).train()
    assert left.skipped_steps == saved - 4
    assert same_bits(left.model.params, good.model.params)


def test_a_window_with_a_skipped_step_logs_the_mean_of_the_others(tmp_path, monkeypatch):
    options = {"shuffle_train_dataset": False, "num_train_epochs": 1, "do_last_save": False}
    trainer(tmp_path / "each", log_steps=1, max_training_steps=2, **options).train()
    run = broken(trainer(tmp_path / "window", log_steps=3, **options), [3], monkeypatch)
    with pytest.warns(UserWarning, match="1 of the steps up to 3 were skipped"):
        run.train()
    [entry] = read_metrics(tmp_path / "window" / "dpo")
    one, two = read_metrics(tmp_path / "each" / "dpo")
    assert entry["skipped_steps"] == 1
    assert entry["loss"] == pytest.approx((one["loss"] + two["loss"]) / 2, rel=1e-6)
    assert entry["grad_norm"] == pytest.approx((one["grad_norm"] + two["grad_norm"]) / 2, rel=1e-6)
