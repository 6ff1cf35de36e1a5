"""Options of evaluation: when, on how much, and what is done with the best."""

import dataclasses

from easydel.trainers.options.fields import free_option
from easydel.trainers.options.run import Interval

OF_EVALUATE = ("max_evaluation_steps", "eval_batch_size")
"""The options that `DPOTrainer.evaluate` obeys too, where it is given rows of its own."""
NEED_EVAL_ROWS = ("evaluation_steps", "evaluate_before_training", "best_metric", *OF_EVALUATE)
"""The options without effect on a run that has no eval rows."""
_BEST, _GENERATED = {"best_metric": "eval_loss"}, {"generation_prompts": 4}


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluationOptions:
    """When a run is evaluated, and what its evaluations decide."""

    evaluation_steps: Interval | None = free_option(
        None,
        "evaluate every N steps, every share of the run (below 1) or each epoch, and also before the first step and "
        "after the last (default: these two only)",
        group="evaluation",
        common=True,
        share=True,
        above=0,
    )
    evaluate_before_training: bool = free_option(True, "evaluate before the first step too")
    max_evaluation_steps: int | None = free_option(None, "max batches of each eval dataset (default: all)", at_least=1)
    best_metric: str | None = free_option(
        None, "keep the checkpoint at which this eval metric is best, such as eval_loss (default: no metric)"
    )
    best_metric_greater: bool | None = free_option(
        None, "a greater best_metric is better (default: false for a loss or entropy, else true)", needs=_BEST
    )
    load_best_at_end: bool = free_option(
        False, "the trained model is that of the best checkpoint, not of the last step", needs=_BEST
    )
    early_stopping_patience: int | None = free_option(
        None,
        "stop after N evaluations without a better best_metric (default: never)",
        needs={**_BEST, "evaluation_steps": 100},
        at_least=1,
    )
    early_stopping_threshold: float = free_option(
        0.0,
        "min improvement of best_metric that resets early_stopping_patience",
        needs={"early_stopping_patience": 3},
        at_least=0,
    )
    generation_prompts: int = free_option(
        0,
        "complete N prompts of the eval data (without any, of the training data) before and after training",
        at_least=0,
    )
    generation_interval: Interval | None = free_option(
        None,
        "also complete them every N steps, every share of the run (below 1) or each epoch (default: never)",
        needs=_GENERATED,
        share=True,
        above=0,
    )
    generation_max_new_tokens: int = free_option(64, "max tokens of such a completion", needs=_GENERATED, at_least=1)
