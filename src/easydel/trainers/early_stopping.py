"""The best evaluation of a run so far, and how long ago it was: a pure function of what the evaluations found."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from easydel.errors import ConfigError, nearest
from easydel.trainers.config import DPOConfig


class BestMetric(NamedTuple):
    """The metric that the best checkpoint is chosen by, and how long a run goes on without a better one."""

    metric: str
    greater: bool  # a greater value is a better one
    patience: int | None  # evaluations that may pass without improvement; None for no limit
    threshold: float  # what an improvement must exceed to count against patience


class BestEvaluation(NamedTuple):
    """The best evaluation of a run so far."""

    step: int | None  # None before the first finite value
    value: float
    waited: int  # evaluations since the last improvement by more than the threshold


def make_best_metric(config: DPOConfig) -> BestMetric | None:
    """Returns what the settings look for, or None: a lower loss or entropy is better, and more of anything else."""
    if config.best_metric is None:
        return None
    greater = config.best_metric_greater
    if greater is None:
        greater = not config.best_metric.endswith(("loss", "entropy"))
    return BestMetric(config.best_metric, greater, config.early_stopping_patience, config.early_stopping_threshold)


def check_best_metric(wanted: BestMetric | None, measured: Sequence[str]) -> None:
    """Raises ConfigError where the evaluations of a run do not measure the metric that is looked for."""
    if wanted is not None and wanted.metric not in measured:
        raise ConfigError(
            f"best_metric = {wanted.metric!r} is not measured by this run's evaluations."
            f"{nearest(wanted.metric, measured)} "
            f"They measure: {', '.join(measured)}."
        )


def best_evaluation(evaluations: Iterable[tuple[int, float]], wanted: BestMetric) -> BestEvaluation:
    """Returns where `(step, value)` pairs, oldest first, leave a run.

    The best is the first of the best values. Patience is measured against the value at the last improvement that
    exceeded the threshold, so that small improvements which add up count as one. A value that is not finite is never
    better.

    >>> losses = [(0, 0.7), (10, 0.5), (20, 0.45), (30, 0.6)]
    >>> best_evaluation(losses, BestMetric("eval_loss", greater=False, patience=2, threshold=0.1))
    BestEvaluation(step=20, value=0.45, waited=2)
    """
    sign = 1.0 if wanted.greater else -1.0
    best, mark, waited = (-math.inf, None), -math.inf, 0
    for step, value in evaluations:
        score = sign * value if math.isfinite(value) else -math.inf
        if score > best[0]:
            best = (score, step)
        if score > mark + wanted.threshold:
            mark, waited = score, 0
        else:
            waited += 1
    return BestEvaluation(best[1], sign * best[0] if best[1] is not None else math.nan, waited)


def evaluations_of(entries: Iterable[Mapping[str, Any]], wanted: BestMetric) -> list[tuple[int, float]]:
    """Returns the `(step, value)` pairs of the best metric among logged objects; null was not finite."""
    found = [(entry["step"], entry[wanted.metric]) for entry in entries if wanted.metric in entry]
    return [(step, math.nan if value is None else value) for step, value in found]


def why_over(best: BestEvaluation, wanted: BestMetric, step: int, total_steps: int) -> str:
    """Returns in words why a run ends before its last step."""
    more = f" by more than {wanted.threshold:g}" if wanted.threshold else ""
    found = "was never finite" if best.step is None else f"has been best, {best.value:.4g}, at step {best.step}"
    return (
        f"Stopped early after step {step} of {total_steps}: {wanted.metric} {found}, and has not improved{more} for "
        f"{best.waited} evaluations (early_stopping_patience = {wanted.patience})."
    )
