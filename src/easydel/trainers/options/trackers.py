"""Options of what a run logs and shows, and the trackers that `report_to` may name."""

import dataclasses
from collections.abc import Mapping

from easydel.display.display import KINDS
from easydel.errors import ConfigError
from easydel.trainers.options.fields import free_option, option
from easydel.trainers.options.run import Interval

TRACKERS: Mapping[str, str] = {"wandb": "wandb", "trackio": "trackio", "tensorboard": "tensorboardX"}
"""The package that each needs; `trainers/record/tracker_<name>.py` logs to it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoggingOptions:
    """What is logged, where and how often."""

    log_steps: Interval = free_option(
        10,
        "log metrics every N steps, every share of the run (below 1) or each epoch",
        group="logging",
        common=True,
        share=True,
        above=0,
    )
    log_logit_metrics: bool = option(True, "also log entropy, logits/chosen, logits/rejected and token accuracy")
    progress_bar_type: str = free_option(
        "tqdm",
        "what the terminal shows: bars of tqdm or rich, one JSON object a line, or nothing; in a pipe or file, lines "
        "take the place of bars",
        choices=KINDS,
    )
    report_to: list[str] | None = free_option(
        None, "trackers to log to besides the run folder (default: no tracker)", common=True, choices=tuple(TRACKERS)
    )
    use_wandb: bool = free_option(False, "the same as report_to wandb: log to Weights & Biases, if installed")
    wandb_entity: str | None = free_option(None, "user or team whose project the run goes to (default: wandb's own)")
    wandb_name: str | None = free_option(None, "name of the run at wandb (default: model_name)")
    profile_steps: int | None = free_option(
        None,
        "trace N steps with jax.profiler, from the third on, into profile/ of the run folder (default: no trace)",
        at_least=1,
    )

    @property
    def trackers(self) -> tuple[str, ...]:
        """The trackers of the run, each once."""
        asked = [*(self.report_to or []), *(["wandb"] if self.use_wandb else [])]
        return tuple(name for name in TRACKERS if name in asked)


def check_trackers(config: LoggingOptions) -> None:
    """Raises ConfigError for settings of a tracker that the run does not log to."""
    for name in ("wandb_entity", "wandb_name"):
        if getattr(config, name) is not None and "wandb" not in config.trackers:
            raise ConfigError(
                f"{name} = {getattr(config, name)!r} needs report_to = 'wandb': set it, or leave {name} out."
            )
