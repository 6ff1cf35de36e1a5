"""What a run has left in its folder, read back as values for its report. No jax here: a report is made in no time."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from easydel.errors import DataError
from easydel.trainers.config import DPOConfig
from easydel.trainers.fields import read_yaml
from easydel.trainers.log import read_metrics
from easydel.trainers.report.scale import Points
from easydel.trainers.run_folder import read_json, read_samples

# Settings that name the run or its place; of no interest beside another run's.
NAMES = ("model_name", "save_directory")


class Run(NamedTuple):
    """A run as its files tell it."""

    name: str
    entries: Sequence[Mapping[str, Any]]  # metrics.jsonl: what was logged, oldest first
    data: Mapping[str, Mapping[str, Any]]  # data.json: what became of the rows of each dataset
    samples: Sequence[Mapping[str, Any]]  # samples.jsonl
    settings: Mapping[str, Any]  # config.yaml
    facts: Mapping[str, str]  # run.json: what was trained and how it went, label to text
    best: int | None = None  # best.json: the step of the best evaluation

    @property
    def sets(self) -> list[str]:
        """How the names of the metrics of each held-out set begin: `eval`, `eval_<name>`."""
        return [name for name in self.data if name != "train"]

    def points(self, metric: str) -> Points:
        """Returns the finite values of a metric by step."""
        return [(float(e["step"]), float(e[metric])) for e in self.entries if e.get(metric) is not None]

    def last(self, metric: str) -> float | None:
        """Returns the newest finite value of a metric, None where there is none."""
        points = self.points(metric)
        return points[-1][1] if points else None


def read_run(folder: Path) -> Run:
    """Returns what the files in a run folder say.

    Raises:
        DataError: it is no folder of a run.
        ConfigError: its `config.yaml` cannot be read.
    """
    if not (folder / "config.yaml").is_file():
        raise DataError(
            f"{folder} is no folder of a run: it has no config.yaml. Name the folder that training wrote, "
            "<save_directory>/<model_name>."
        )
    settings = read_yaml(folder / "config.yaml")
    return Run(
        name=str(settings.get("model_name", folder.name)),
        entries=read_metrics(folder),
        data=read_json(folder / "data.json"),
        samples=read_samples(folder),
        settings=settings,
        facts=read_json(folder / "run.json"),
        best=read_json(folder / "best.json").get("step"),
    )


def changed(config: DPOConfig | Mapping[str, Any]) -> dict[str, Any]:
    """Returns the settings of a run that are not the default."""
    settings = config.to_dict() if isinstance(config, DPOConfig) else config
    defaults = DPOConfig().to_dict()
    return {name: value for name, value in settings.items() if value != defaults.get(name)}


def title(name: str) -> str:
    """Returns what people read for `train`, `eval` or `eval_<name>`.

    >>> title("train"), title("eval"), title("eval_hard")
    ('train', 'held out', 'held out, hard')
    """
    if name == "train":
        return name
    return "held out" + (f", {name.removeprefix('eval_')}" if name != "eval" else "")


def when(sample: Mapping[str, Any]) -> str:
    """Returns in words at which step a sample was made, and of which step the weights were if they were not its own.

    >>> when({"step": 9}), when({"step": 9, "weights": 6})
    ('step 9', 'step 9, best weights, of step 6')
    """
    return f"step {sample['step']}" + (f", best weights, of step {sample['weights']}" if "weights" in sample else "")


def by_prompt(samples: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """Returns the samples of each prompt, in the order in which they were made."""
    grouped: dict[str, list[Mapping[str, Any]]] = {}
    for sample in samples:
        grouped.setdefault(sample["prompt"], []).append(sample)
    return grouped
