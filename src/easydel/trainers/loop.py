"""The loop of a run: train on a batch, then log, evaluate, answer and save where each is due, until the end.

It knows steps and what is due at them; everything it calls was prepared by `DPOTrainer`.
"""

import math
import time
import warnings

import jax.numpy as jnp

from easydel.data.loader import Position, prefetch
from easydel.data.pack import Batch
from easydel.errors import ConfigError, Interrupted
from easydel.processes import agreed, is_time_to_leave
from easydel.trainers.best import Goal, Search, Standing
from easydel.trainers.checkpoint import Saved, form_of
from easydel.trainers.compile_ahead import form_of_batch
from easydel.trainers.flops import peak_flops, peak_memory, step_flops
from easydel.trainers.interrupt import wait_for
from easydel.trainers.log import read_metrics
from easydel.trainers.metrics import Window, pairs_of, unshared_tokens
from easydel.trainers.optimizer import updates_done
from easydel.trainers.parts import Ending, Parts
from easydel.trainers.run_folder import append_samples, read_samples, write_json
from easydel.trainers.samples import side_by_side
from easydel.trainers.setup import on_mesh
from easydel.trainers.skipped import SkippedSteps


class Loop:
    """One run from a state to its end; `run` may be called once."""

    def __init__(self, parts: Parts, saved: Saved) -> None:
        self._parts = parts
        self._state, self._progress = saved.state, saved.progress
        self._step = int(saved.state.step)
        entries = read_metrics(parts.folder)
        # What was done last at which step: the files tell what a run that is continued has left to do at its first.
        here = {name for entry in entries if entry["step"] == self._step for name in entry}
        self._logged = self._step if "learning_rate" in here else None
        self._evaluated = self._step if any(name.startswith("eval_") for name in here) else None
        answers = read_samples(parts.folder)
        self._answered = self._step if any(answer["step"] == self._step for answer in answers) else None
        self._ran_out = False
        self._window = Window(self._progress.window)
        self._skipped = SkippedSteps(
            parts.folder, most=parts.config.max_skipped_steps, in_a_row=self._progress.skipped_in_a_row
        )
        self._saved_at = time.monotonic()
        self._metrics = {name: value for entry in entries for name, value in entry.items() if name != "step"}
        self._search = None if parts.goal is None else Search(parts.goal, entries)

    def run(self) -> Ending:
        """Trains to the last step, or until patience is at an end.

        Raises:
            Interrupted: a signal asked the run to end; what was done is saved.
            ConfigError: too many steps in a row were skipped; what was trained before is saved.
        """
        start = time.perf_counter()
        try:
            self._train_to_the_end()
        except Interrupted as asked:
            raise self._left(asked) from None
        skipped = self._step - updates_done(self._state.opt_state)
        best = None if self._search is None else self._search.best
        loaded = best is not None and self._parts.config.load_best_at_end and self._load(best.step)
        self._answer(of=best.step if best is not None and loaded else None)
        return Ending(
            self._state,
            self._metrics,
            self._progress,
            self._step,
            skipped,
            best,
            loaded,
            time.perf_counter() - start,
        )

    def _train_to_the_end(self) -> None:
        self._begin()
        place = Position(self._progress.epoch, self._progress.batch)
        batches = self._parts.data.batches(place, epochs=math.ceil(self._parts.config.num_train_epochs))
        with prefetch(batches, wait_for=wait_for) as ahead:
            while not self._is_over():
                if is_time_to_leave(self._step):
                    raise Interrupted("SIGTERM", "of several processes")
                item = next(ahead, None)
                if item is None:
                    self._ran_out = True  # a stream that ended before the last step
                else:
                    self._train(*item)
                self._do_what_is_due()

    def _begin(self) -> None:
        """Looks at the model as it starts, or takes up what was left to do at the step that is continued from."""
        parts = self._parts
        if self._step == 0:
            if parts.config.evaluate_before_training:
                self._evaluate()
            self._answer()
        else:
            self._find_best()
            self._do_what_is_due()
        self._window.resume()  # its clock starts here

    def _find_best(self) -> None:
        """Takes up the search for the best evaluation where it was."""
        parts, search = self._parts, self._search
        if search is None or search.best.step is None:
            return
        if search.best.step in parts.checkpointer.steps():
            parts.checkpointer.best = search.best.step
            self._say_if_out_of_patience()
        else:
            parts.log.say(f"The best checkpoint so far, of step {search.best.step}, is gone: looking for a new one.")
            search.forget()

    def _do_what_is_due(self) -> None:
        config, pace = self._parts.config, self._parts.pace
        if self._is_due(pace.log_steps):
            self._log()
        if self._is_due(pace.evaluation_steps):
            self._evaluate()
        if self._is_due(pace.generation_interval) and not self._is_over():
            self._answer()
        if self._is_due(pace.save_steps) or self._is_late(config.save_interval_minutes):
            self._save()
        if self._is_over():
            self._log()  # patience may have ended between two logged steps
            self._skipped.in_a_row()
        if self._skipped.complaint:
            self._save()
            raise ConfigError(self._skipped.complaint)

    def _train(self, position: Position, batch: Batch) -> None:
        parts = self._parts
        on_device = on_mesh(batch, parts.model.decoder.mesh)
        parts.compiling.wait(form_of_batch(batch))
        reference = parts.reference.logprobs(parts.data.name, batch, on_device)
        with parts.profile.step(self._step + 1):
            self._state, sums = parts.train_step(self._state, on_device, reference, parts.frozen)
        parts.profile.after(sums)
        self._step += 1
        parts.reference.after_step(self._step, self._state.params)
        with_reference = parts.config.needs_reference and not parts.config.precompute_ref_log_probs
        flops = step_flops(parts.model.config, batch, with_reference=with_reference, trained_share=parts.trained_share)
        self._window.add(batch, sums, flops, parts.model.decoder.chunk)
        self._skipped.add(self._step, batch, sums["skipped"])
        self._progress = self._progress._replace(
            epoch=position.epoch,
            batch=position.batch,
            num_tokens=self._progress.num_tokens + unshared_tokens(batch),
            num_pairs=self._progress.num_pairs + pairs_of(batch),
        )
        parts.log.advance()

    def _log(self) -> None:
        """Logs the steps since the last time, if there are any."""
        if self._logged == self._step or not self._window.steps:
            return
        parts, devices = self._parts, list(self._parts.model.decoder.mesh.devices.flat)
        per_epoch = parts.data.loader.steps_per_epoch
        rate = float(jnp.asarray(parts.schedule(max(updates_done(self._state.opt_state) - 1, 0))))
        metrics = self._window.metrics(logit_metrics=parts.config.log_logit_metrics, peak_flops=peak_flops(devices)) | {
            "memory": peak_memory(devices),
            "learning_rate": rate,
            "epoch": self._progress.epoch if per_epoch is None else self._step / per_epoch,
            "num_tokens": self._progress.num_tokens,
        }
        parts.log.write(self._step, metrics)
        if metrics["skipped_steps"] and not self._metrics.get("skipped_steps"):
            warnings.warn(
                f"{metrics['skipped_steps']:.0f} of the steps up to {self._step} were skipped, as their loss or "
                "gradient was not finite; the weights stayed as they were. Lower learning_rate or set clip_grad.",
                stacklevel=2,
            )
        self._metrics |= metrics
        self._logged, self._window = self._step, Window()

    def _evaluate(self) -> None:
        """Evaluates on every held-out set, logs what it finds, and keeps the weights if they are the best so far."""
        parts = self._parts
        if not parts.evaluation_sets or self._evaluated == self._step:
            return
        self._evaluated = self._step
        self._window.pause()
        metrics = parts.evaluate(self._state)
        parts.log.write(self._step, metrics, sets=parts.evaluation_sets)
        self._metrics |= metrics
        if self._search is not None:
            self._search.add(self._step, metrics)
            self._keep_if_best(self._search.goal, self._search.best)
        self._window.resume()

    def _keep_if_best(self, goal: Goal, best: Standing) -> None:
        if best.step == self._step:
            self._parts.checkpointer.best = self._step
            self._save()
            record = {"metric": goal.metric, "greater": goal.greater, "step": self._step, "value": best.value}
            write_json(self._parts.folder / "best.json", record | {"checkpoint": f"checkpoints/{self._step}"})
        self._say_if_out_of_patience()

    def _answer(self, *, of: int | None = None) -> None:
        """Writes and shows what the model answers to the sample prompts, at the end under what it answered at first.

        Args:
            of: the step whose weights are here, where it is not the last one.
        """
        parts = self._parts
        if parts.answer is None or self._answered == self._step:
            return
        self._answered = self._step
        self._window.pause()
        answers = parts.answer(self._state.params, self._step)
        if of not in (None, self._step):
            answers = [{**answer, "weights": of} for answer in answers]
        append_samples(parts.folder, answers)
        shown = side_by_side(read_samples(parts.folder) if self._is_over() else answers) if self._step > 0 else ""
        parts.log.samples(self._step, answers, shown)
        self._window.resume()

    def _save(self) -> None:
        """Saves a checkpoint, unless there is one of this step."""
        parts = self._parts
        self._saved_at = time.monotonic()
        if self._step in parts.checkpointer.steps():
            return
        moving = parts.reference.moving if parts.config.sync_ref_model else None
        progress = self._progress._replace(skipped_in_a_row=self._skipped.in_a_row(), window=self._window.plain())
        parts.checkpointer.save(Saved(self._state, progress, moving))

    def _left(self, asked: Interrupted) -> Interrupted:
        """Returns what to say to who asked the run to end, after saving what was done."""
        if self._step == 0:
            return asked
        self._save()
        self._parts.checkpointer.wait()
        return Interrupted(
            asked.signal,
            f"after step {self._step} of {self._parts.pace.total_steps}, which is saved: resume = 'auto' (--resume "
            f"auto) continues {self._parts.folder}.",
        )

    def _load(self, step: int | None) -> bool:
        """Puts the weights of the best evaluation's step in place of the last ones; returns whether there are any."""
        if step is None:
            return False
        if step != self._step:
            reference = self._parts.reference
            moving = reference.moving if self._parts.config.sync_ref_model else None
            form = form_of(Saved(self._state, self._progress, moving))
            del self._state  # both at once may not fit
            self._parts.checkpointer.wait()
            best = self._parts.checkpointer.restore(step, form)
            self._state = best.state
            if moving is not None:
                reference.move_to(best.reference)  # the one that the best evaluation was made with
        return True

    def _is_due(self, every: int | None) -> bool:
        """Whether something done every so many steps is due now: after the last step everything is."""
        return self._is_over() or (every is not None and self._step % every == 0)

    def _is_late(self, minutes: float | None) -> bool:
        return minutes is not None and agreed(time.monotonic() - self._saved_at >= 60 * minutes)

    def _is_over(self) -> bool:
        found = self._search is not None and self._search.is_over
        return self._step >= self._parts.pace.total_steps or self._ran_out or found

    def _say_if_out_of_patience(self) -> None:
        if self._search is not None and self._search.is_over:
            self._parts.log.say(self._search.why_over(self._step, self._parts.pace.total_steps))
