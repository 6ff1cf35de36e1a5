"""Runs as event files of tensorboard, in `tensorboard/` of the run folder."""

from collections.abc import Mapping, Sequence
from typing import Any

from easydel.trainers.record.tracker import About


class Run:
    """One run's event files."""

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
