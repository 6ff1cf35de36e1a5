"""What a run has left in its folder, read back as values for its report. No jax here: a report is made in no time."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from easydel.errors import DataError
from easydel.trainers.config import DPOConfig
from easydel.trainers.fields import read_yaml
from easydel.trainers.log import read_metrics
from easydel.trainers.report.previews import are_columns, are_previews
from easydel.trainers.report.scale import Points
from easydel.trainers.run_folder import read_json, read_samples

# Settings that name the run or its place; of no interest beside another run's.
NAMES = ("model_name", "save_directory")
# What `data.json` says of a dataset at least.
_COUNTS = {"rows": int, "kept": int, "truncated": dict, "dropped": dict, "merged": int, "identical": int}


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
        DataError: it is no folder of a run, or a file in it was damaged.
        ConfigError: its `config.yaml` cannot be read.
    """
    file = folder / "config.yaml"
    settings = read_yaml(file) if file.is_file() else {}
    if "model_name" not in settings:
        lacks = "config.yaml there has no model_name" if file.is_file() else "it has no config.yaml"
        raise DataError(
            f"{folder} is no folder of a run: {lacks}. Name the folder that training wrote, "
            "<save_directory>/<model_name>."
        )
    return Run(
        name=str(settings["model_name"]),
        entries=read_metrics(folder),
        data=read_json(folder / "data.json", "the counts of each dataset", _are_counts),
        samples=read_samples(folder),
        settings=settings,
        facts=read_json(folder / "run.json", "texts", lambda facts: all(isinstance(x, str) for x in facts.values())),
        best=read_json(folder / "best.json").get("step"),
    )


def _are_counts(data: Mapping[str, Any]) -> bool:
    return all(
        isinstance(counts, dict)
        and all(isinstance(counts.get(name), kind) for name, kind in _COUNTS.items())
        and all(_is_range(counts.get(name, [0, 0])) for name in ("weights", "margins"))
        and are_previews(counts.get("previews", []))
        and ("columns" not in counts or are_columns(counts["columns"]))
        for counts in data.values()
    )


def _is_range(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(isinstance(each, int | float) for each in value)


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
