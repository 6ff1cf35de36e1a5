"""The trackers there are: Weights & Biases, trackio and tensorboard, each behind the same three calls.

Each package is an extra, and imported when a run asks for it.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

PROJECT = "easydel-dpo"
MODULES = {"wandb": "wandb", "trackio": "trackio", "tensorboard": "tensorboardX"}
"""What each tracker needs to be installed."""


class About(NamedTuple):
    """What a tracker is told of a run as it starts."""

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


class _Wandb:
    def __init__(self, about: About) -> None:
        import wandb  # pyright: ignore[reportMissingImports]  # an extra

        self._wandb: Any = wandb
        kept = about.folder / "wandb" / "run_id"
        # Whoever is not logged in would be asked on the terminal, in the middle of the run.
        online = "WANDB_MODE" in os.environ or wandb.login(prompt=False, verify=False)
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            entity=about.wandb_entity,
            name=about.wandb_name or about.name,
            dir=str(about.folder),
            config=dict(about.settings),
            mode=None if online else "offline",
            id=kept.read_text(encoding="utf-8") if about.step and kept.is_file() else None,
            resume="allow" if about.step else None,
            settings=wandb.Settings(silent=True, console="off"),
        )
        kept.parent.mkdir(exist_ok=True)
        kept.write_text(self._run.id, encoding="utf-8")

    @property
    def where(self) -> str:
        if self._run.offline:
            return f"wandb, offline: `wandb sync {Path(self._run.dir).parent}` sends it"
        return f"wandb: {self._run.url}"

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        self._run.log(dict(metrics), step=step)

    def samples(self, step: int, samples: Sequence[Mapping[str, Any]]) -> None:
        columns = ["step", "prompt", "answer"]
        rows = [[sample[name] for name in columns] for sample in samples]
        self._run.log({"samples": self._wandb.Table(columns=columns, data=rows)}, step=step)

    def finish(self, *, failed: bool) -> None:
        self._run.finish(exit_code=int(failed))


class _Trackio:
    def __init__(self, about: About) -> None:
        import trackio  # pyright: ignore[reportMissingImports]  # an extra

        self._trackio: Any = trackio
        self._run = trackio.init(
            project=PROJECT,
            name=about.name,
            config=dict(about.settings),
            resume="allow" if about.step else "never",
        )

    @property
    def where(self) -> str:
        return f"trackio: `trackio show --project {PROJECT}`, run {self._run.name}"

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        self._run.log(dict(metrics), step=step)

    def samples(self, step: int, samples: Sequence[Mapping[str, Any]]) -> None:
        columns = ["prompt", "answer"]
        rows = [[sample[name] for name in columns] for sample in samples]
        self._run.log({"samples": self._trackio.Table(columns=columns, data=rows)}, step=step)

    def finish(self, *, failed: bool) -> None:
        self._run.finish()


class _Tensorboard:
    def __init__(self, about: About) -> None:
        from tensorboardX import SummaryWriter  # pyright: ignore[reportMissingImports]  # an extra

        self._folder = about.folder / "tensorboard"
        # What a run that was killed wrote of later steps is made again.
        self._writer = SummaryWriter(logdir=str(self._folder), purge_step=about.step + 1 if about.step else None)
        rows = "".join(f"| {name} | {_cell(value)} |\n" for name, value in about.settings.items())
        self._writer.add_text("settings", f"| setting | value |\n|---|---|\n{rows}", about.step)

    @property
    def where(self) -> str:
        return f"tensorboard: `tensorboard --logdir {self._folder}`"

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def samples(self, step: int, samples: Sequence[Mapping[str, Any]]) -> None:
        rows = "".join(f"| {_cell(sample['prompt'])} | {_cell(sample['answer'])} |\n" for sample in samples)
        self._writer.add_text("samples", f"| prompt | answer |\n|---|---|\n{rows}", step)

    def finish(self, *, failed: bool) -> None:
        self._writer.close()


def _cell(value: object) -> str:
    """A value in a table of Markdown."""
    return str(value).strip().replace("|", "\\|").replace("\n", "<br>")


START: Mapping[str, Callable[[About], Tracker]] = {"wandb": _Wandb, "trackio": _Trackio, "tensorboard": _Tensorboard}
