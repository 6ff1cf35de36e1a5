"""What a training loop is made of, and what it leaves."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import optax

from easydel.trainers.compile_ahead import CompileAhead
from easydel.trainers.datasets import TrainSet
from easydel.trainers.early_stopping import BestEvaluation
from easydel.trainers.profiler import Profiler
from easydel.trainers.record.checkpoint import Checkpointer, Progress
from easydel.trainers.record.metrics_log import MetricsLog
from easydel.trainers.run_plan import RunPlan
from easydel.trainers.step_functions import TrainStep
from easydel.trainers.train_state import TrainState


@dataclass(frozen=True, kw_only=True)
class LoopContext:
    """What a training loop is made of."""

    plan: RunPlan
    data: TrainSet
    train_step: TrainStep
    compiling: CompileAhead
    schedule: optax.Schedule | None  # None where an optimizer of the user's has its own
    folder: Path  # the run folder
    checkpointer: Checkpointer
    log: MetricsLog
    profiler: Profiler


class LoopResult(NamedTuple):
    """What a training loop leaves."""

    state: TrainState
    metrics: dict[str, float]  # of the last logged step and the last evaluation
    progress: Progress
    step: int  # where training ended
    skipped: int  # steps whose loss or gradient was not finite, since the beginning of the run
    best: BestEvaluation | None
    best_is_loaded: bool  # `state` is that of the best evaluation, not of the last step
    seconds: float  # that the loop took, since it was started or continued
