"""What Python users add to a run: it is called with the values of the run, decides what it says, and is compared."""

from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
import pytest

import easydel as ed
from easydel.trainers.extensions import Extensions, PairValues, check_extensions, computed_metrics
from easydel.trainers.record.files import read_metrics
from oracles.runs import config, id_rows, same_bits, tiny_model

RATE = 1e-2
UNSET = {"learning_rate": 1e-6}  # the default


def trainer(folder: Path, *, options: dict[str, Any] | None = None, **own: Any) -> ed.DPOTrainer:
    """Three steps on twelve rows, with three rows to evaluate on."""
    return ed.DPOTrainer(
        arguments=config(folder, do_last_save=False, **(options or {})),
        model=tiny_model(),
        train_dataset=id_rows(12),
        eval_dataset=id_rows(3, seed=1),
        **own,
    )


def test_hooks_are_given_what_is_logged_and_saved_when_it_is(tmp_path):
    seen: list[tuple[Any, ...]] = []
    found = trainer(
        tmp_path,
        options={"evaluation_steps": 2, "save_steps": 2},
        on_log=lambda step, metrics: seen.append(("log", step, metrics)),
        on_evaluate=lambda step, metrics: seen.append(("evaluate", step, metrics)),
        on_save=lambda step, folder: seen.append(("save", step, (folder / "state").is_dir())),
        on_end=lambda result: seen.append(("end", result)),
    ).train()
    assert seen.pop() == ("end", found)
    order = [(kind, step) for kind, step, _ in seen]
    assert order == [
        *[("evaluate", 0), ("log", 1), ("log", 2), ("evaluate", 2), ("save", 2), ("log", 3), ("evaluate", 3)],
        ("save", 3),
    ]
    assert all(saved is True for kind, _, saved in seen if kind == "save")
    told = [{"step": step} | metrics for kind, step, metrics in seen if kind != "save"]
    assert told == read_metrics(tmp_path / "dpo")


def test_an_error_in_a_hook_ends_the_run_after_what_was_trained_is_saved(tmp_path):
    def stop(step: int, metrics: Any) -> None:
        if step == 2:
            raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough") as raised:
        trainer(tmp_path, on_log=stop).train()
    assert "step 2" in " ".join(raised.value.__notes__)
    resumed = trainer(tmp_path, options={"resume": "auto"}).train().model.params
    assert same_bits(resumed, trainer(tmp_path / "other").train().model.params)


def test_an_optimizer_that_is_given_makes_the_updates_and_logs_the_rate_that_it_is_told(tmp_path):
    by_name = trainer(tmp_path / "name", options={"learning_rate": RATE}).train()
    given = trainer(tmp_path / "given", options=UNSET, optimizer=optax.adamw(RATE, weight_decay=0.0)).train()
    for one, other in zip(leaves(by_name), leaves(given), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)
    assert "learning_rate" in by_name.metrics
    assert "learning_rate" not in given.metrics
    told = trainer(tmp_path / "told", options=UNSET, optimizer=optax.sgd(RATE), schedule=lambda done: RATE / 2).train()
    assert told.metrics["learning_rate"] == pytest.approx(RATE / 2)


def test_a_schedule_that_is_given_is_the_learning_rate(tmp_path):
    by_name = trainer(tmp_path / "name", options={"learning_rate": RATE, "scheduler": "linear"}).train()
    given = trainer(tmp_path / "given", options=UNSET, schedule=optax.linear_schedule(RATE, 0.0, 3)).train()
    for one, other in zip(leaves(by_name), leaves(given), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)
    rates = [[entry["learning_rate"] for entry in read_metrics(folder / "dpo") if "learning_rate" in entry]
             for folder in (tmp_path / "name", tmp_path / "given")]  # fmt: skip
    np.testing.assert_allclose(*rates, rtol=1e-6)


def test_a_run_with_an_optimizer_of_ones_own_goes_on_bit_for_bit_and_with_no_other(tmp_path):
    make = partial(optax.chain, optax.clip_by_global_norm(1.0))
    whole = trainer(tmp_path / "whole", options=UNSET, optimizer=make(optax.sgd(RATE, momentum=0.9))).train()
    short = {**UNSET, "max_training_steps": 2, "save_steps": 2}
    trainer(tmp_path, options=short, optimizer=make(optax.sgd(RATE, momentum=0.9))).train()
    again = {**UNSET, "resume": "auto"}
    for other, said in (
        (make(optax.sgd(2 * RATE, momentum=0.9)), "own optimizer values were .*, are"),
        (None, "own optimizer was given, is none now"),
    ):
        with pytest.raises(ed.ConfigError, match=said):
            trainer(tmp_path, options=again, optimizer=other)
    resumed = trainer(tmp_path, options=again, optimizer=make(optax.sgd(RATE, momentum=0.9))).train()
    assert same_bits(resumed.model.params, whole.model.params)


def test_metrics_of_ones_own_are_computed_of_every_pair_and_may_choose_the_best(tmp_path):
    seen: list[PairValues] = []

    def compute(values: PairValues) -> dict[str, float]:
        seen.append(values)
        return {"mean_loss": values.loss.mean(), "steps_so_far": len(seen)}

    options = {"evaluation_steps": 1, "best_metric": "eval_steps_so_far", "eval_batch_size": 2}
    found = trainer(tmp_path, options=options, compute_metrics=compute).train()
    assert found.best_step == 3
    for values, entry in zip(
        seen, [each for each in read_metrics(tmp_path / "dpo") if "eval_loss" in each], strict=True
    ):
        assert sorted(values.index.tolist()) == [0, 1, 2]
        assert entry["eval_mean_loss"] == pytest.approx(entry["eval_loss"], rel=1e-6)
        assert (values.rewards[:, 0] - values.rewards[:, 1]).mean() == pytest.approx(entry["eval_rewards/margins"])
        np.testing.assert_allclose(values.rewards, 0.1 * (values.policy - values.reference), rtol=1e-6)
    assert set(np.concatenate([values.lengths.ravel() for values in seen])) <= set(range(1, 10))


def test_a_best_metric_that_is_not_computed_is_named_at_the_first_evaluation(tmp_path):
    run = trainer(
        tmp_path, options={"best_metric": "eval_won", "evaluation_steps": 1}, compute_metrics=lambda values: {"win": 1}
    )
    with pytest.raises(ed.ConfigError, match=r"'eval_won' is not measured .* Did you mean 'eval_win'"):
        run.train()


VALUES = PairValues(*[np.zeros(1)] * 6)


def leaves(result: Any) -> list[Any]:
    return [np.asarray(each) for each in jax.tree.leaves(result.model.params)]


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        ({"on_log": 3}, {}, "on_log = 3 must be a function"),
        (
            {"optimizer": "lion"},
            {},
            "optimizer = 'lion' must be an optax transformation.*DPOConfig",
        ),
        ({"schedule": lambda done: [0.1, 0.2]}, {}, "schedule must return one learning rate"),
        ({"optimizer": optax.sgd(0.1)}, {"learning_rate": 0.1}, "learning_rate = 0.1 has no effect beside optimizer="),
        ({"optimizer": optax.sgd(0.1)}, {"clip_grad": 1.0}, "clip_grad = 1.0 has no effect beside optimizer="),
        (
            {"schedule": lambda done: 0.1},
            {"scheduler": "linear"},
            "scheduler = 'linear' has no effect",
        ),
    ],
)
def test_what_cannot_be_called_or_would_be_ignored_is_refused(given, options, message):
    with pytest.raises(ed.ConfigError, match=message):
        check_extensions(ed.DPOConfig(**options), Extensions(**given))


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (0.5, "must return a mapping of names to numbers, not float"),
        ({"loss": 1.0}, "returned 'loss', which is measured already"),
        ({"wins": [1, 2]}, r"returned \[1, 2\] for 'wins'; it must be a number"),
    ],
)
def test_metrics_that_cannot_be_logged_are_refused(found, message):
    with pytest.raises(ed.ConfigError, match=message):
        computed_metrics(lambda values: found, VALUES, {"loss": 0.0})
