"""Runs in trackio, on this machine."""

from collections.abc import Mapping, Sequence
from typing import Any

from easydel.trainers.record.tracker import PROJECT, About


class Run:
    """One run in trackio."""

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
