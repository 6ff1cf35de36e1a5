"""The checkpoint of the best evaluation: kept whatever comes after it, named in `best.json`, and a reason to stop."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from easydel.trainers.early_stopping import BestEvaluation, best_evaluation, evaluations_of, why_over
from easydel.trainers.loop_context import LoopContext
from easydel.trainers.record.files import write_json


class BestCheckpoint:
    """Follows the evaluations of one run.

    Args:
        context: that of its loop.
        entries: logged objects of the run so far: one that is continued stands where it stood.
    """

    def __init__(self, context: LoopContext, entries: Iterable[Mapping[str, Any]]) -> None:
        self._wanted = wanted = context.plan.best_metric
        self._found = [] if wanted is None else evaluations_of(entries, wanted)
        self._folder, self._checkpointer, self._log = context.folder, context.checkpointer, context.log
        self._total_steps = context.data.intervals.total_steps

    @property
    def best(self) -> BestEvaluation | None:
        """The best evaluation so far; None where nothing is looked for."""
        return None if self._wanted is None else best_evaluation(self._found, self._wanted)

    @property
    def is_over(self) -> bool:
        """Whether patience is at an end."""
        best, patience = self.best, None if self._wanted is None else self._wanted.patience
        return best is not None and patience is not None and best.waited >= patience

    def resume(self, step: int) -> None:
        """Takes up the search where it was at `step`; one whose best checkpoint is gone begins anew."""
        best = self.best
        if best is None or best.step is None:
            return
        if best.step in self._checkpointer.steps():
            self._checkpointer.best = best.step
            self._say_if_over(step)
        else:
            self._log.say(f"The best checkpoint so far, of step {best.step}, is gone: looking for a new one.")
            self._found = []

    def add(self, step: int, metrics: Mapping[str, float], save: Callable[[], None]) -> None:
        """Takes what an evaluation found; where it is the best so far, saves a checkpoint and names it."""
        if self._wanted is None:
            return
        self._found.append((step, metrics[self._wanted.metric]))
        best = best_evaluation(self._found, self._wanted)
        if best.step == step:
            self._checkpointer.best = step
            save()
            record = {"metric": self._wanted.metric, "greater": self._wanted.greater, "step": step, "value": best.value}
            write_json(self._folder / "best.json", record | {"checkpoint": f"checkpoints/{step}"})
        self._say_if_over(step)

    def _say_if_over(self, step: int) -> None:
        if self._wanted is not None and self.is_over:
            self._log.say(why_over(best_evaluation(self._found, self._wanted), self._wanted, step, self._total_steps))
