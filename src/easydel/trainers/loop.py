"""The loop of a run: train on a batch, then log, evaluate, answer and save where each is due, until the end.

It knows steps and what is due at them; everything it calls was made by `training`.
"""

import math
import time
from contextlib import nullcontext

import jax.numpy as jnp
from jaxtyping import PyTree

from easydel.data.loader import Position
from easydel.data.pack import Batch
from easydel.data.prefetch import prefetch
from easydel.errors import ConfigError, Interrupted, warn
from easydel.processes import agreed, all_come, is_time_to_leave
from easydel.trainers.batch_placement import on_mesh
from easydel.trainers.best_checkpoint import BestCheckpoint
from easydel.trainers.compile_ahead import batch_shapes
from easydel.trainers.failure import what_is_saved
from easydel.trainers.flops import peak_flops, peak_memory, step_flops
from easydel.trainers.loop_context import LoopContext, LoopResult
from easydel.trainers.metrics import MetricsWindow, pairs_of, sequence_tokens
from easydel.trainers.optimizer import updates_done
from easydel.trainers.record.checkpoint import Checkpoint, abstract_checkpoint
from easydel.trainers.record.files import append_samples, read_metrics, read_samples, so_far
from easydel.trainers.run_watch import RunWatch
from easydel.trainers.sample_answers import answer_samples, side_by_side
from easydel.trainers.signals import wait_for
from easydel.trainers.skipped_steps import SkippedSteps
from easydel.trainers.train_state import is_whole
from easydel.trainers.trainable import trained_share


class Loop:
    """One run from a state to its end; `run` may be called once."""

    def __init__(self, context: LoopContext, initial: Checkpoint) -> None:
        self._context, self._config, self._intervals = context, context.plan.config, context.data.intervals
        self._state, self._progress = initial.state, initial.progress
        self._step = int(initial.state.step)
        entries = so_far(read_metrics, context.folder, self._step)
        # What was done last at which step: the files tell what a run that is continued has left to do at its first.
        here = {name for entry in entries if entry["step"] == self._step for name in entry}
        self._logged = self._step if "grad_norm" in here else None
        self._evaluated = self._step if any(name.startswith("eval_") for name in here) else None
        self._answers = so_far(read_samples, context.folder, self._step)
        self._answered = self._step if any(answer["step"] == self._step for answer in self._answers) else None
        self._ran_out = False
        self._is_between_steps = True
        self._window = MetricsWindow(self._progress.window)
        self._skipped = SkippedSteps(
            context.folder, max_in_a_row=self._config.max_skipped_steps, in_a_row=self._progress.skipped_in_a_row
        )
        self._saved_at = time.monotonic()
        self._trained_share = trained_share(context.plan.partition, context.plan.model)
        self._metrics = {name: value for entry in entries for name, value in entry.items() if name != "step"}
        self._best = BestCheckpoint(context, entries)
        self._watch = RunWatch(context, initial.state.params, step=self._step, entries=entries, answers=self._answers)

    def run(self) -> LoopResult:
        """Trains to the last step, or until patience is at an end.

        Raises:
            Interrupted: a signal asked the run to end; what was done is saved.
            ConfigError: too many steps in a row were skipped; what was trained before is saved.
            Exception: any other of what the loop calls, after what was trained is saved where it is whole; a note on
                it says which step that is.
        """
        start = time.perf_counter()
        try:
            self._train_to_the_end()
        except Interrupted as asked:
            raise self._left(asked) from None
        except Exception as error:
            self._save_before(error)
            raise
        skipped = self._step - updates_done(self._state.opt_state)
        best = self._best.best
        loaded = best is not None and self._config.load_best_at_end and self._load(best.step)
        self._answer(of=best.step if best is not None and loaded else None)
        return LoopResult(
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
        batches = self._context.data.batches(
            place, epochs=math.ceil(self._config.num_train_epochs), steps=self._intervals.total_steps - self._step
        )
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
        """Evaluates and answers with the initial policy, or does what is due at the step that is continued from."""
        if self._step == 0:
            if self._config.evaluate_before_training:
                self._evaluate()
            self._answer()
        else:
            self._best.resume(self._step)
            self._do_what_is_due()
        self._window.resume()  # its clock starts here

    def _do_what_is_due(self) -> None:
        intervals = self._intervals
        if self._is_due(intervals.log_steps):
            self._log()
        if self._is_due(intervals.evaluation_steps):
            self._evaluate()
        if self._is_due(intervals.generation_interval) and not self._is_over():
            self._answer()
        if self._is_due(intervals.save_steps) or self._is_late(self._config.save_interval_minutes):
            self._save()
        if self._is_over():
            self._log()  # patience, or a sign, may have ended it between two logged steps
            self._evaluate()
            self._skipped.in_a_row()
        if self._skipped.message:
            self._save()
            raise ConfigError(self._skipped.message)

    def _train(self, position: Position, batch: Batch) -> None:
        context, plan = self._context, self._context.plan
        on_device = on_mesh(batch, plan.model.decoder.mesh)
        context.compiling.wait(batch_shapes(batch))
        reference = plan.reference.logprobs(context.data.name, batch, on_device)
        with context.profiler.step(self._step + 1):
            self._state, sums = context.train_step(self._state, on_device, reference, plan.frozen)
        self._is_between_steps = False
        context.profiler.after(sums)
        self._step += 1
        plan.reference.after_step(self._step, self._state.params)
        with_reference = self._config.needs_reference and not self._config.precompute_ref_log_probs
        flops = step_flops(plan.model.config, batch, with_reference=with_reference, trained_share=self._trained_share)
        self._window.add(batch, sums, flops, plan.model.decoder.chunk)
        self._skipped.add(self._step, batch, sums["skipped"])
        self._watch.add(self._step, sums["grad_norm"])
        self._progress = self._progress._replace(
            epoch=position.epoch,
            batch=position.batch,
            num_tokens=self._progress.num_tokens + sequence_tokens(batch),
            num_pairs=self._progress.num_pairs + pairs_of(batch),
        )
        self._is_between_steps = True
        context.log.advance()

    def _log(self) -> None:
        """Logs the steps since the last time, if there are any."""
        if self._logged == self._step or not self._window.steps:
            return
        context, devices = self._context, list(self._context.plan.model.decoder.mesh.devices.flat)
        per_epoch = context.data.loader.steps_per_epoch
        done = max(updates_done(self._state.opt_state) - 1, 0)
        rate = {} if context.schedule is None else {"learning_rate": float(jnp.asarray(context.schedule(done)))}
        metrics = self._window.metrics(logit_metrics=self._config.log_logit_metrics, peak_flops=peak_flops(devices)) | {
            "memory": peak_memory(devices),
            **rate,
            "epoch": self._progress.epoch if per_epoch is None else self._step / per_epoch,
            "num_tokens": self._progress.num_tokens,
        }
        context.log.write(self._step, metrics)
        if context.plan.extensions.on_log is not None:
            context.plan.extensions.on_log(self._step, dict(metrics))
        if metrics["skipped_steps"] and not self._metrics.get("skipped_steps"):
            warn(
                f"{metrics['skipped_steps']:.0f} of the steps up to {self._step} were skipped, as their loss or "
                "gradient was not finite; the weights stayed as they were. Lower learning_rate or set clip_grad."
            )
        self._metrics |= metrics
        self._watch.log(self._step, metrics, self._state.params)
        self._logged, self._window = self._step, MetricsWindow()

    def _evaluate(self) -> None:
        """Evaluates on every eval set, logs what it finds, and keeps the weights if they are the best so far."""
        context, sets = self._context, tuple(self._context.plan.eval_sets)
        if not sets or self._evaluated == self._step:
            return
        self._evaluated = self._step
        self._window.pause()
        metrics = context.plan.evaluate(self._state)
        context.log.write(self._step, metrics, sets=sets)
        self._metrics |= metrics
        self._watch.log(self._step, metrics, self._state.params)
        self._best.add(self._step, metrics, self._save)
        if context.plan.extensions.on_evaluate is not None:
            context.plan.extensions.on_evaluate(self._step, dict(metrics))
        self._window.resume()

    def _answer(self, *, of: int | None = None) -> None:
        """Writes and shows what the model answers to the sample prompts, at the end under what it answered at first.

        Args:
            of: the step whose weights are here, where it is not the last one.
        """
        context = self._context
        if not self._config.generation_prompts or self._answered == self._step:
            return
        self._answered = self._step
        self._window.pause()
        answers = answer_samples(context.plan, self._state.params, self._step)
        if of not in (None, self._step):
            answers = [{**answer, "weights": of} for answer in answers]
        append_samples(context.folder, answers)
        self._answers += answers
        self._watch.answer(self._step, answers)
        shown = side_by_side(self._answers if self._is_over() else answers) if self._step > 0 else ""
        context.log.samples(self._step, answers, shown)
        self._window.resume()

    def _save(self) -> None:
        """Saves a checkpoint, unless there is one of this step."""
        context = self._context
        self._saved_at = time.monotonic()
        if self._step in context.checkpointer.steps():
            return
        progress = self._progress._replace(skipped_in_a_row=self._skipped.in_a_row(), window=self._window.plain())
        with context.checkpointer.spared(self._step) if self._model_follows() else nullcontext():
            context.checkpointer.save(Checkpoint(self._state, progress, self._moving()))
            if context.plan.extensions.on_save is not None:
                context.checkpointer.wait()
                context.plan.extensions.on_save(self._step, context.checkpointer.path(self._step))

    def _model_follows(self) -> bool:
        """Whether the last step is done, and a model will be written of it, be there a checkpoint or not."""
        return self._is_over() and self._config.do_last_save

    def _left(self, asked: Interrupted) -> Interrupted:
        """Returns the message for whoever asked the run to end, after saving what was done."""
        if self._step == 0:
            return asked
        self._save()
        self._context.checkpointer.wait()
        return Interrupted(
            asked.signal,
            f"after step {self._step} of {self._intervals.total_steps}, which is saved: resume = 'auto' (--resume "
            f"auto) continues {self._context.folder}.",
        )

    def _save_before(self, error: Exception) -> None:
        """Saves what was trained before an error is said, and notes on the error what is saved; raises nothing itself.

        A step that fails while it runs was given the buffers of the state, and leaves none to save.
        """
        if self._step == 0:
            return
        context, step = self._context, self._step
        try:
            if self._is_between_steps and is_whole(self._state) and all_come(f"error after step {step}"):
                self._save()
            context.checkpointer.wait()
            newest = context.checkpointer.latest()
        except Exception as failure:  # noqa: BLE001  # of the disk, or a device that is lost: the first error counts
            error.add_note(f"What was trained could not be saved: {failure}")
        else:
            total_steps = self._intervals.total_steps
            error.add_note(
                what_is_saved(error, newest=newest, step=step, total_steps=total_steps, folder=context.folder)
            )

    def _load(self, step: int | None) -> bool:
        """Puts the weights of the best evaluation's step in place of the last ones; returns whether there are any."""
        if step is None:
            return False
        if step != self._step:
            like = abstract_checkpoint(Checkpoint(self._state, self._progress, self._moving()))
            del self._state  # both at once may not fit
            self._context.checkpointer.wait()
            best = self._context.checkpointer.restore(step, like)
            self._state = best.state
            if best.reference is not None:
                self._context.plan.reference.move_to(best.reference)  # that of the best evaluation
        return True

    def _moving(self) -> PyTree | None:
        """Returns the weights of a reference that moves, which a checkpoint holds too."""
        return self._context.plan.reference.moving if self._config.sync_ref_model else None

    def _is_due(self, every: int | None) -> bool:
        """Whether something done every `every` steps is due now: after the last step everything is."""
        return self._is_over() or (every is not None and self._step % every == 0)

    def _is_late(self, minutes: float | None) -> bool:
        return minutes is not None and agreed(time.monotonic() - self._saved_at >= 60 * minutes)

    def _is_over(self) -> bool:
        stopped = self._best.is_over or bool(self._watch.stopped_by)
        return self._step >= self._intervals.total_steps or self._ran_out or stopped
