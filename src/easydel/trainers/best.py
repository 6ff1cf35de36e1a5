"""The best evaluation of a run so far, and how long ago it was: a pure function of what the evaluations found."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from easydel.errors import ConfigError, nearest
from easydel.trainers.config import DPOConfig


class Goal(NamedTuple):
    """What a run is to be best at, and how long it goes on without becoming better."""

    metric: str
    greater: bool  # a greater value is a better one
    patience: int | None  # evaluations that may pass without improvement; None is no limit
    threshold: float  # what an improvement must exceed to count against patience


class Standing(NamedTuple):
    """Where a run stands with respect to its goal."""

    step: int | None  # of the best evaluation; None before the first finite value
    value: float
    waited: int  # evaluations since the last improvement by more than the threshold


class Search:
    """The search of one run for its best evaluation: what the evaluations found so far, and what follows from it.

    Args:
        goal: what is looked for.
        entries: logged objects of the run so far: one that is continued stands where it stood.
    """

    def __init__(self, goal: Goal, entries: Iterable[Mapping[str, Any]] = ()) -> None:
        self.goal = goal
        self._found = evaluations_of(entries, goal)

    @property
    def best(self) -> Standing:
        """Where the run stands."""
        return standing(self._found, self.goal)

    @property
    def is_over(self) -> bool:
        """Whether patience is at an end."""
        return self.goal.patience is not None and self.best.waited >= self.goal.patience

    def add(self, step: int, metrics: Mapping[str, float]) -> None:
        """Takes what an evaluation found."""
        self._found.append((step, metrics[self.goal.metric]))

    def forget(self) -> None:
        """Begins anew."""
        self._found = []

    def why_over(self, step: int, total_steps: int) -> str:
        """Returns in words why a run ends before its last step."""
        goal, best = self.goal, self.best
        more = f" by more than {goal.threshold:g}" if goal.threshold else ""
        found = "was never finite" if best.step is None else f"has been best, {best.value:.4g}, at step {best.step}"
        return (
            f"Stopped early after step {step} of {total_steps}: {goal.metric} {found}, and has not improved{more} for "
            f"{best.waited} evaluations (early_stopping_patience = {goal.patience})."
        )


def goal_of(config: DPOConfig) -> Goal | None:
    """Returns what the settings look for, or None: a lower loss or entropy is better, and more of anything else."""
    if config.best_metric is None:
        return None
    greater = config.best_metric_greater
    if greater is None:
        greater = not config.best_metric.endswith(("loss", "entropy"))
    return Goal(config.best_metric, greater, config.early_stopping_patience, config.early_stopping_threshold)


def check_goal(goal: Goal | None, measured: Sequence[str]) -> None:
    """Raises ConfigError when the metric looked for is none of those that the evaluations of a run measure."""
    if goal is not None and goal.metric not in measured:
        raise ConfigError(
            f"best_metric = {goal.metric!r} is no metric of this run's evaluations.{nearest(goal.metric, measured)} "
            f"They measure: {', '.join(measured)}."
        )


def standing(evaluations: Iterable[tuple[int, float]], goal: Goal) -> Standing:
    """Returns where `(step, value)` pairs, oldest first, leave a run.

    The best is the first of the best values. Patience is measured against the value at the last improvement that
    exceeded the threshold, so that small improvements which add up count as one. A value that is not finite is never
    better.

    >>> losses = [(0, 0.7), (10, 0.5), (20, 0.45), (30, 0.6)]
    >>> standing(losses, Goal("eval_loss", greater=False, patience=2, threshold=0.1))
    Standing(step=20, value=0.45, waited=2)
    """
    sign = 1.0 if goal.greater else -1.0
    best, mark, waited = (-math.inf, None), -math.inf, 0
    for step, value in evaluations:
        score = sign * value if math.isfinite(value) else -math.inf
        if score > best[0]:
            best = (score, step)
        if score > mark + goal.threshold:
            mark, waited = score, 0
        else:
            waited += 1
    return Standing(best[1], sign * best[0] if best[1] is not None else math.nan, waited)


def evaluations_of(entries: Iterable[Mapping[str, Any]], goal: Goal) -> list[tuple[int, float]]:
    """Returns the `(step, value)` pairs of the goal's metric among logged objects; null was not finite."""
    found = [(entry["step"], entry[goal.metric]) for entry in entries if goal.metric in entry]
    return [(step, math.nan if value is None else value) for step, value in found]
