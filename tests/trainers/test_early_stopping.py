"""What is best, and for how long nothing better was found: worked out by hand."""

import math

import pytest

from easydel.errors import ConfigError
from easydel.trainers.config import DPOConfig
from easydel.trainers.early_stopping import (
    BestMetric,
    best_evaluation,
    check_best_metric,
    evaluations_of,
    make_best_metric,
)


def of(values: list[float], *, greater: bool = False, threshold: float = 0.0) -> tuple:
    """Where the values of steps 0, 1, ... leave a run."""
    return tuple(best_evaluation(enumerate(values), BestMetric("eval_loss", greater, None, threshold)))


def test_the_best_is_the_first_of_the_best_values():
    assert of([0.7, 0.5, 0.6, 0.5]) == (1, 0.5, 2)
    assert of([0.7, 0.9, 0.9, 0.8], greater=True) == (1, 0.9, 2)
    assert of([0.7, 0.6, 0.5]) == (2, 0.5, 0)


def test_the_best_may_improve_while_patience_runs_out():
    """Each value is the best so far, but none is more than 0.1 better than the first."""
    assert of([0.70, 0.65, 0.62], threshold=0.1) == (2, 0.62, 2)


def test_small_improvements_that_add_up_count():
    assert of([0.70, 0.65, 0.59, 0.55], threshold=0.1) == (3, 0.55, 1)


def test_an_improvement_must_exceed_the_threshold():
    assert of([1.0, 0.75], threshold=0.25) == (1, 0.75, 1)


@pytest.mark.parametrize("greater", [False, True])
@pytest.mark.parametrize("strange", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_never_better(greater, strange):
    assert of([0.5, strange], greater=greater) == (0, 0.5, 1)
    assert of([strange, 0.5], greater=greater) == (1, 0.5, 0)
    step, value, waited = of([strange, strange], greater=greater)
    assert (step, waited) == (None, 2)
    assert math.isnan(value)


def test_before_any_evaluation_nothing_was_waited_for():
    assert of([])[::2] == (None, 0)


@pytest.mark.parametrize(
    ("metric", "greater"),
    [
        ("eval_loss", False),
        ("eval_hard_loss", False),
        ("eval_entropy", False),
        ("eval_rewards/accuracies", True),
        ("eval_rewards/margins", True),
    ],
)
def test_which_way_is_better_follows_from_the_name_unless_it_is_said(metric, greater):
    assert make_best_metric(DPOConfig(best_metric=metric)) == BestMetric(metric, greater, None, 0.0)
    said = make_best_metric(DPOConfig(best_metric=metric, best_metric_greater=not greater))
    assert said is not None
    assert said.greater is not greater


def test_without_a_metric_nothing_is_looked_for():
    assert make_best_metric(DPOConfig()) is None
    check_best_metric(None, [])


def test_an_unknown_metric_is_an_error_with_the_nearest():
    goal = BestMetric("eval_reward/accuracies", True, None, 0.0)
    with pytest.raises(ConfigError, match=r"Did you mean 'eval_rewards/accuracies'.* They measure: eval_loss"):
        check_best_metric(goal, ["eval_loss", "eval_rewards/accuracies"])


def test_what_was_logged_gives_the_values_back():
    entries = [{"step": 0, "eval_loss": 0.7}, {"step": 1, "loss": 0.6}, {"step": 2, "eval_loss": None}]
    first, second = evaluations_of(entries, BestMetric("eval_loss", False, None, 0.0))
    assert first == (0, 0.7)
    assert second[0] == 2
    assert math.isnan(second[1])
