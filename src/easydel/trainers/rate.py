"""What is surprising in how the learning rate of a run goes, said before the first step."""

import warnings
from collections.abc import Iterator

from easydel.trainers.config import DPOConfig
from easydel.trainers.pace import Pace
from easydel.trainers.schedule_settings import POLYNOMIAL_END
from easydel.trainers.start import schedule_of

LARGE_END = 0.05  # of the learning rate, that a schedule ends at without being told
_TIME_SCALE = 10_000  # steps of inverse_sqrt without a warm-up


def warn_of_rate(config: DPOConfig, pace: Pace) -> None:
    """Warns of a rate that will hardly be what was meant: a warm-up without end, a fall that never comes."""
    for words in (*_of_warmup(config, pace), *_of_fall(config, pace)):
        warnings.warn(words, stacklevel=3)


def _of_warmup(config: DPOConfig, pace: Pace) -> Iterator[str]:
    steps, name = pace.total_steps, "warmup_ratio" if config.warmup_ratio else "warmup_steps"
    asked = f"{name} = {getattr(config, name)}"
    if pace.warmup_steps >= steps > 1:
        yield f"{asked} is not over in a run of {steps} steps: the learning rate never reaches {config.learning_rate}."
    elif steps == 1 and not schedule_of(config, pace)(0):
        yield (
            f"the only step of the run begins the warm-up ({asked}), at a learning rate of 0, and changes nothing: "
            f"train for more steps, or set {name} = 0."
        )


def _of_fall(config: DPOConfig, pace: Pace) -> Iterator[str]:
    steps, given = pace.total_steps, config.lr_scheduler_kwargs or {}
    lengths = (pace.warmup_steps, pace.stable_steps, pace.decay_steps)
    if pace.decay_steps and sum(lengths) != steps > pace.warmup_steps:
        left = steps - sum(lengths)
        ends = "before its fall is over" if left < 0 else f"with {left} steps at its lowest rate"
        yield (
            f"scheduler 'warmup_stable_decay' has {' + '.join(map(str, lengths))} steps (warm-up, num_stable_steps and "
            f"num_decay_steps), and the run has {steps}: it ends {ends}. Leave num_stable_steps out to fill the run."
        )
    share = POLYNOMIAL_END / config.learning_rate
    is_told = config.learning_rate_end is not None or "lr_end" in given
    if config.scheduler == "polynomial" and not is_told and share >= LARGE_END:
        yield (
            f"scheduler 'polynomial' falls to {POLYNOMIAL_END}, as in transformers, which is {share:.0%} of "
            f"learning_rate = {config.learning_rate}: say with learning_rate_end where it ends."
        )
    if config.scheduler == "inverse_sqrt" and not pace.warmup_steps and not given and 1 < steps < _TIME_SCALE:
        last = (1 + (steps - 1) / _TIME_SCALE) ** -0.5
        yield (
            f"scheduler 'inverse_sqrt' without a warm-up has a time scale of {_TIME_SCALE} steps, as in transformers: "
            f"the last of {steps} steps has {last:.0%} of learning_rate. Set warmup_steps, or timescale in "
            "lr_scheduler_kwargs."
        )
