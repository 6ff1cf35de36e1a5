"""A run that fails saves what it trained before it says why, and goes on from there as one that never failed."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import pytest

import easydel as ed
from easydel.errors import with_notes
from easydel.trainers.failure import what_is_saved
from easydel.trainers.record.checkpoint import Checkpointer
from easydel.trainers.record.files import read_json
from easydel.trainers.run_plan import RunPlan
from oracles.runs import config, held_out_trainer, id_rows, logged, same_bits, steps_kept, tiny_model

QUIET = {"do_last_save": False}
STREAMED = {"max_training_steps": 16, "shuffle_buffer_size": 4, **QUIET}
GOOD = id_rows(64)
BAD = {"prompt_ids": [2], "chosen_ids": [99], "rejected_ids": [3]}


class Rows:
    """A stream that can be read again; at some rows it gives another, or raises an error."""

    def __init__(self, at: int = -1, other: Any = None, rows: list[dict[str, Any]] = GOOD) -> None:
        self.at, self.other, self.rows = at, other, rows

    def __iter__(self) -> Iterator[Any]:
        for number, row in enumerate(self.rows):
            if number == self.at and isinstance(self.other, Exception):
                raise self.other
            if number == self.at:
                yield self.other
            yield row


def streamed(folder: Path, rows: Any, **options: Any) -> ed.DPOTrainer:
    arguments = config(folder, **{**STREAMED, **options})
    return ed.DPOTrainer(arguments=arguments, model=tiny_model(), train_dataset=rows)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (BAD, r"train_dataset: row 42: chosen holds the token id 99, .*'skip' \(--on_bad_row skip\)"),
        ("no row", "train_dataset: row 42 is of type str"),
        (ConnectionError("reset"), r"reset[\s\S]* in place of row 42 \(rows count from 0\)"),
    ],
)
def test_a_stream_that_breaks_is_saved_first_and_goes_on_bit_for_bit(tmp_path, other, words):
    straight = streamed(tmp_path / "straight", Rows()).train()
    with pytest.raises((ed.DataError, ConnectionError)) as raised:
        streamed(tmp_path / "broken", Rows(42, other)).train()
    said = with_notes(raised.value)
    assert pytest.raises(Exception, match=words).matches(ValueError(said))
    assert "What was trained is saved, up to step 10 of 16." in said
    assert said.endswith(f"resume = 'auto' (--resume auto) continues {tmp_path / 'broken' / 'dpo'}.")
    assert steps_kept(tmp_path / "broken") == [10]
    assert (tmp_path / "broken" / "dpo" / "report.html").exists()
    # Mended, or connected again.
    resumed = streamed(tmp_path / "broken", Rows(), resume="auto").train()
    assert same_bits(resumed.model.params, straight.model.params)
    assert logged(tmp_path / "broken", "loss") == logged(tmp_path / "straight", "loss")


def test_a_run_may_leave_out_the_bad_row_when_it_is_continued(tmp_path):
    straight = streamed(tmp_path / "straight", Rows()).train()
    with pytest.raises(ed.DataError, match="row 42"):
        streamed(tmp_path / "broken", Rows(42, BAD)).train()
    run = streamed(tmp_path / "broken", Rows(42, BAD), resume="auto", on_bad_row="skip")
    with pytest.warns(UserWarning, match="1 of 65 rows could not be read and are left out"):
        resumed = run.train()
    assert same_bits(resumed.model.params, straight.model.params)
    assert "Dropped: 1 (could not be read). Could not be read: row 42: chosen holds the token id 99" in resumed.summary
    counts = read_json(tmp_path / "broken" / "dpo" / "data.json")["train"]
    assert counts["dropped"] == {"could not be read": 1}
    assert counts["unreadable"][0].startswith("row 42: ")


def test_a_bad_row_that_is_still_there_stops_the_run_again_and_loses_nothing(tmp_path):
    for _ in range(2):
        with pytest.raises(ed.DataError, match="row 42"):
            streamed(tmp_path, Rows(42, BAD), resume="auto").train()
        assert steps_kept(tmp_path) == [10]


def test_an_evaluation_that_fails_costs_no_step(tmp_path, monkeypatch):
    options = {"num_train_epochs": 2, "evaluation_steps": 4, **QUIET}
    straight = held_out_trainer(tmp_path / "straight", **options).train()
    run, evaluate = held_out_trainer(tmp_path / "broken", **options), RunPlan.evaluate

    def failing(plan: RunPlan, state: Any) -> dict[str, float]:
        if int(state.step) == 4:
            raise RuntimeError("no room on the device")
        return evaluate(plan, state)

    with monkeypatch.context() as patch:
        patch.setattr(RunPlan, "evaluate", failing)
        with pytest.raises(RuntimeError, match="no room on the device") as raised:
            run.train()
    assert "up to step 4 of 6" in with_notes(raised.value)
    resumed = held_out_trainer(tmp_path / "broken", resume="auto", **options).train()
    assert same_bits(resumed.model.params, straight.model.params)
    assert logged(tmp_path / "broken", "eval_loss") == logged(tmp_path / "straight", "eval_loss")


def test_a_step_that_fails_while_it_runs_leaves_no_state_and_says_which_checkpoint_there_is(tmp_path, monkeypatch):
    """Its buffers were given to it, so that nothing is written over the checkpoint before."""
    done = []

    def check(value: Any) -> Any:
        if done:
            raise FloatingPointError("not on my watch")
        return value

    def checked(policy, reference, lengths, *, beta):
        of_branches = beta * (policy - reference)
        margins = of_branches[:, 0] - of_branches[:, 1]
        shape = jax.ShapeDtypeStruct(margins.shape, margins.dtype)
        seen = jax.pure_callback(check, shape, jax.lax.stop_gradient(margins), vmap_method="sequential")
        return -jax.nn.log_sigmoid(margins) + 0.0 * seen

    run = held_out_trainer(tmp_path, loss_type=checked, evaluate_before_training=False, save_steps=2, **QUIET)

    def after_step(step: int, policy: Any) -> None:
        jax.block_until_ready(policy)
        done.extend([step] * (step == 2))

    monkeypatch.setattr(run.reference, "after_step", after_step)
    with pytest.raises(Exception, match="not on my watch") as raised:
        run.train()
    assert steps_kept(tmp_path) == [2]
    assert "What was trained is saved, up to step 2 of 3" in with_notes(raised.value)


def test_a_checkpoint_that_cannot_be_written_does_not_hide_the_error(tmp_path, monkeypatch):
    def full(*_: Any) -> None:
        raise OSError(28, "no space left on the disk")

    run = streamed(tmp_path, Rows(42, BAD))
    monkeypatch.setattr(Checkpointer, "save", full)
    with pytest.raises(ed.DataError, match="row 42") as raised:
        run.train()
    assert "What was trained could not be saved: " in with_notes(raised.value)


def test_an_error_before_the_first_step_is_said_as_it_is(tmp_path, monkeypatch):
    run = held_out_trainer(tmp_path, **QUIET)
    monkeypatch.setattr(RunPlan, "evaluate", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError) as raised:
        run.train()
    assert not getattr(raised.value, "__notes__", [])


def test_what_is_lost_is_said():
    options = {"step": 9, "total_steps": 20, "folder": Path("run")}
    assert what_is_saved(ValueError(), newest=None, **options) == "Nothing is saved of the 9 steps that were done."
    assert "up to step 6 of 20; 3 of the 9 steps that were done are lost." in what_is_saved(
        ValueError(), newest=6, **options
    )
    assert "on_bad_row" not in what_is_saved(ValueError(), newest=9, **options)
