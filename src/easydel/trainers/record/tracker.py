"""What a tracker beside the run folder is: three calls, in a module `tracker_<name>` that has a class `Run`.

Its package is an extra, named in `options.trackers`, and imported when a run asks for it.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

PROJECT = "easydel-dpo"


class About(NamedTuple):
    """What a tracker gets to know of a run when it starts."""

    folder: Path  # the run folder
    name: str
    settings: Mapping[str, Any]  # plain values, without secrets
    step: int = 0  # the steps that lie behind; of a run that is continued
    wandb_name: str | None = None
    wandb_entity: str | None = None


class Tracker(Protocol):
    """One run at one tracker."""

    @property
    def where(self) -> str:
        """Where to look at the run, for people."""
        ...

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Records the metrics of a step, which are finite."""
        ...

    def samples(self, step: int, samples: Sequence[Mapping[str, Any]]) -> None:
        """Records answers to the sample prompts."""
        ...

    def finish(self, *, failed: bool) -> None:
        """Ends the run."""
        ...
