"""What a run has left in its folder, read back as values for its report. No jax here: a report is made in no time."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from easydel.errors import DataError
from easydel.trainers.config import DPOConfig
from easydel.trainers.options.fields import read_yaml
from easydel.trainers.record.files import read_json, read_metrics, read_samples, read_signs
from easydel.trainers.report.scale import Points

# Settings that name the run or its place; of no interest beside another run's.
NAMES = ("model_name", "save_directory")
# What `data.json` says of each dataset, as `_fits` reads it.
_SEGMENTS = [{"kind": str, "tokens": int, "text": str | None, "special": bool}]
_NUMBER = int | float
_DATASET = {
    **dict.fromkeys(("rows", "kept", "merged", "most_merged", "most_merged_row", "identical", "masked"), int),
    **dict.fromkeys(("truncated", "dropped", "lengths", "lost"), dict),
    **dict.fromkeys(("weights", "margins"), (_NUMBER, _NUMBER)),
    "columns": {"rows": int, "read": {str: int}, "ignored": {str: int}, "stands_for": {str: str}},
    "previews": [
        {"row": int, "reasons": list, "weight": _NUMBER, "margin": _NUMBER}
        | dict.fromkeys(("prompt", "chosen", "rejected"), _SEGMENTS)
    ],
}


class Run(NamedTuple):
    """A run as its files tell it."""

    name: str
    entries: Sequence[Mapping[str, Any]]  # metrics.jsonl: what was logged, oldest first
    data: Mapping[str, Mapping[str, Any]]  # data.json: what became of the rows of each dataset
    samples: Sequence[Mapping[str, Any]]  # samples.jsonl
    settings: Mapping[str, Any]  # config.yaml
    facts: Mapping[str, str]  # run.json: what was trained and how it went, label to text
    signs: Sequence[Mapping[str, Any]] = ()  # signs.jsonl: what the run warned of
    best: int | None = None  # best.json: the step of the best evaluation

    @property
    def sets(self) -> list[str]:
        """How the names of the metrics of each eval set begin: `eval`, `eval_<name>`."""
        return [name for name in self.data if name != "train"]

    def points(self, metric: str) -> Points:
        """Returns the finite values of a metric by step."""
        return [(float(e["step"]), float(e[metric])) for e in self.entries if e.get(metric) is not None]

    def last(self, metric: str) -> float | None:
        """Returns the newest finite value of a metric, or None."""
        points = self.points(metric)
        return points[-1][1] if points else None


def read_run(folder: Path) -> Run:
    """Returns what the files in a run folder say.

    Raises:
        DataError: it is not the folder of a run, or a file in it was damaged.
        ConfigError: its `config.yaml` cannot be read.
    """
    file = folder / "config.yaml"
    settings = read_yaml(file) if file.is_file() else {}
    if "model_name" not in settings:
        lacks = "config.yaml there has no model_name" if file.is_file() else "it has no config.yaml"
        raise DataError(
            f"{folder} is not the folder of a run: {lacks}. Name the folder that training wrote, "
            "<save_directory>/<model_name>."
        )
    return Run(
        name=str(settings["model_name"]),
        entries=read_metrics(folder),
        data=read_json(folder / "data.json", "the counts of each dataset", partial(_fits, form={str: _DATASET})),
        samples=read_samples(folder),
        settings=settings,
        facts=read_json(folder / "run.json", "texts", partial(_fits, form={str: str})),
        signs=read_signs(folder),
        best=read_json(folder / "best.json").get("step"),
    )


def _fits(value: Any, form: Any) -> bool:
    """Returns whether a value has a form.

    A form is a type, a dict of the forms of its names (`str` is any name), a list of the form of all elements, or a
    tuple of the form of each.
    """
    if isinstance(form, dict):
        forms = dict.fromkeys(value, form[str]) if str in form and isinstance(value, dict) else form
        return isinstance(value, dict) and all(_fits(value.get(name), each) for name, each in forms.items())
    if isinstance(form, list):
        return isinstance(value, list) and all(_fits(each, form[0]) for each in value)
    if isinstance(form, tuple):
        return isinstance(value, list) and len(value) == len(form) and all(map(_fits, value, form))
    return isinstance(value, form)


def changed(config: DPOConfig | Mapping[str, Any]) -> dict[str, Any]:
    """Returns the settings of a run that are not the default."""
    settings = config.to_dict() if isinstance(config, DPOConfig) else config
    defaults = DPOConfig().to_dict()
    return {name: value for name, value in settings.items() if value != defaults.get(name)}


def title(name: str) -> str:
    """Returns what people read for `train`, `eval` or `eval_<name>`.

    >>> title("train"), title("eval"), title("eval_hard")
    ('train', 'eval', 'eval, hard')
    """
    return f"eval, {name.removeprefix('eval_')}" if name.startswith("eval_") else name


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
