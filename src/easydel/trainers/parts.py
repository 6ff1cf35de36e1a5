"""What a loop is made of, and what it leaves."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import optax
from jaxtyping import PyTree

from easydel.models.causal_lm import CausalLM
from easydel.trainers.best import Goal, Standing
from easydel.trainers.checkpoint import Checkpointer, Progress
from easydel.trainers.compile_ahead import CompileAhead
from easydel.trainers.config import DPOConfig
from easydel.trainers.datasets import TrainSet
from easydel.trainers.log import MetricsLog
from easydel.trainers.pace import Pace
from easydel.trainers.profile import Profile
from easydel.trainers.reference import Reference
from easydel.trainers.state import TrainState
from easydel.trainers.step import TrainStep


@dataclasses.dataclass(frozen=True, kw_only=True)
class Parts:
    """What a run is made of."""

    config: DPOConfig
    model: CausalLM  # its sizes and its mesh; the weights that are trained are in the state
    train_step: TrainStep
    frozen: PyTree  # the weights that are not trained
    trained_share: float  # of the weights in matrices
    compiling: CompileAhead
    schedule: optax.Schedule
    reference: Reference
    data: TrainSet
    pace: Pace
    evaluate: Callable[[TrainState], dict[str, float]]
    evaluation_sets: tuple[str, ...]  # how the names of their metrics begin; () where nothing is held out
    answer: Callable[[PyTree, int], list[dict[str, Any]]] | None  # to sample prompts, for trained weights and a step
    goal: Goal | None
    folder: Path
    checkpointer: Checkpointer
    log: MetricsLog
    profile: Profile


class Ending(NamedTuple):
    """What a loop leaves."""

    state: TrainState
    metrics: dict[str, float]  # of the last logged step and the last evaluation
    progress: Progress
    step: int  # where training ended
    skipped: int  # steps whose loss or gradient was not finite, since the beginning of the run
    best: Standing | None
    best_is_loaded: bool  # `state` is that of the best evaluation, not of the last step
    seconds: float  # that the loop took, since it was started or continued
