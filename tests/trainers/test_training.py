"""Training as the settings ask for it: accumulation, dtypes, dropout, references, schedules."""

import math
import signal
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import easydel as ed
from easydel.models.causal_lm import CausalLM
from easydel.models.config import ModelConfig
from easydel.sharding import make_mesh
from oracles.runs import TINY, config, id_rows, logged, same_bits, tiny_model, trainer
from oracles.tiny import ONE_DEVICE


@pytest.mark.parametrize("loss_type", ["sigmoid", "aot"])
def test_accumulation_does_not_change_the_training(tmp_path: Path, loss_type: str) -> None:
    losses = []
    for parts in (1, 4):
        trainer(tmp_path / str(parts), rows=10, gradient_accumulation_steps=parts, loss_type=loss_type).train()
        losses.append(logged(tmp_path / str(parts), "loss"))
    assert len(losses[0]) == 3  # the last batch has two pairs
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)


def test_no_reference_model_means_the_policy_as_it_starts(tmp_path: Path) -> None:
    trainer(tmp_path / "none").train()
    ed.DPOTrainer(
        arguments=config(tmp_path / "given"),
        model=tiny_model(),
        reference_model=tiny_model(),
        train_dataset=id_rows(12),
    ).train()
    assert logged(tmp_path / "none", "loss") == logged(tmp_path / "given", "loss")


def test_training_without_a_reference_compares_with_zero(tmp_path: Path) -> None:
    metrics = trainer(tmp_path, reference_free=True, max_training_steps=1).train().metrics
    assert metrics["rewards/chosen"] == pytest.approx(0.1 * metrics["logps/chosen"], rel=1e-6)


def test_a_synced_reference_follows_the_policy(tmp_path: Path) -> None:
    run = trainer(tmp_path, sync_ref_model=True, ref_model_sync_steps=3, ref_model_mixup_alpha=1.0)
    result = run.train()  # three steps: synced once, at the end
    assert same_bits(run.reference.params, result.model.params)


def test_dropout_acts_only_when_it_is_not_disabled(tmp_path: Path) -> None:
    dropping = ModelConfig.from_hf({**TINY.source, "attention_dropout": 0.5})
    model = CausalLM.from_config(dropping, mesh=make_mesh(ONE_DEVICE))
    losses = {}
    for disable in (True, False):
        arguments = config(tmp_path / str(disable), disable_dropout=disable, max_training_steps=1, do_last_save=False)
        ed.DPOTrainer(arguments=arguments, model=model, train_dataset=id_rows(4)).train()
        losses[disable] = logged(tmp_path / str(disable), "loss")[0]
    assert losses[True] == pytest.approx(math.log(2), rel=1e-6)
    assert losses[False] != pytest.approx(math.log(2), rel=1e-4)


def test_weights_can_be_trained_in_another_dtype(tmp_path: Path) -> None:
    result = trainer(tmp_path, param_dtype="bfloat16", max_training_steps=1).train()
    assert {str(leaf.dtype) for leaf in jax.tree.leaves(result.model.params)} == {"bfloat16"}


def test_a_skipped_step_does_not_move_the_learning_rate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = trainer(tmp_path, scheduler="linear", do_last_save=False)
    first_only = iter([True, False, False])
    known = run.reference.logprobs

    def broken_first(*batch: Any) -> Any:
        return known(*batch) * (jnp.nan if next(first_only) else 1.0)

    monkeypatch.setattr(run.reference, "logprobs", broken_first)
    with pytest.warns(
        UserWarning, match="1 of the steps up to 1 were skipped, as their loss or gradient was not finite"
    ):
        result = run.train()
    assert (result.steps, result.skipped_steps) == (3, 1)
    assert "3; 1 skipped, not finite" in result.summary
    assert logged(tmp_path, "skipped_steps") == [1, 0, 0]
    np.testing.assert_allclose(logged(tmp_path, "learning_rate")[1:], [1e-2, 1e-2 * 2 / 3], rtol=1e-6)


def test_a_run_that_is_ended_by_a_signal_leaves_a_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = trainer(tmp_path, num_train_epochs=2)
    go_on = run.reference.after_step

    def end(step: int, policy: Any) -> None:
        go_on(step, policy)
        if step == 2:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(run.reference, "after_step", end)
    with pytest.raises(ed.Interrupted, match="after step 2 of 6"):
        run.train()
    assert "from 0.6931 at step 1" in (tmp_path / "dpo" / "report.html").read_text()
    assert [path.name for path in (tmp_path / "dpo" / "checkpoints").iterdir()] == ["2"]
