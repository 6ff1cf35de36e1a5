"""Runs at Weights & Biases."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from easydel.trainers.record.tracker import PROJECT, About


class Run:
    """One run at Weights & Biases; one that is continued goes on under its id."""

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
