"""The model card of an export: `README.md` with what the hub asks for in front, and `curves.svg`."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from huggingface_hub import ModelCard, ModelCardData, try_to_load_from_cache
from huggingface_hub.errors import HFValidationError

import easydel
from easydel.trainers.config import DPOConfig
from easydel.trainers.report.curves import panels_of
from easydel.trainers.report.page import environment
from easydel.trainers.report.run import NAMES, Run
from easydel.trainers.report.tables import Table, held_out_of
from easydel.trainers.run_folder import FREE_ON_RESUME

# The panels of the picture: enough to see whether a run was healthy.
_SHOWN = ("Loss", "Reward accuracy", "Reward margin", "Log-probability")
# Settings that change which weights a run ends with, though not what it computes.
_CHOICE = ("load_best_at_end", "early_stopping_patience", "early_stopping_threshold")
# Settings of the machine, of accounts and of the moment, which would not help to make the model again.
_LOCAL = frozenset(NAMES) | FREE_ON_RESUME - frozenset(_CHOICE)


class Subject(NamedTuple):
    """What a card is about."""

    title: str
    base: str  # a name on the hub, or a folder here
    settings: Mapping[str, Any]  # that are not the default
    datasets: Sequence[str]  # names on the hub
    adapters: bool  # the export is adapters without their base
    place: str = ""  # where it will be on the hub


def write_card(folder: Path, subject: Subject, run: Run | None) -> None:
    """Writes `README.md` and, of a run that logged anything, `curves.svg` into the folder of an export.

    Nothing of this machine is told: of a base or dataset in a folder here only the last part of its name.
    """
    templates = environment()
    panels = [] if run is None else [panel for panel in panels_of(run) if panel.chart.title in _SHOWN]
    if panels:
        picture = templates.get_template("curves.svg").render(panels=panels)
        (folder / "curves.svg").write_text(picture, encoding="utf-8")
    facts = {} if run is None else {name: value for name, value in run.facts.items() if name != "model"}
    settings = {name: value for name, value in subject.settings.items() if name not in _LOCAL}
    # Markdown is no HTML: its text is written as it is.
    plain = templates.overlay(autoescape=False)
    card = plain.get_template("card.md").render(
        front=_front(subject).to_yaml(),
        title=subject.title,
        what=_what(subject, settings),
        version=easydel.__version__,
        results=[] if run is None else held_out_of(run),
        curves="curves.svg" if panels else None,
        facts=Table(["", ""], [[name, value] for name, value in facts.items()]) if facts else None,
        settings=yaml.safe_dump(settings, sort_keys=False) if settings else "",
        adapters=subject.adapters,
        place=subject.place or ".",
    )
    (folder / "README.md").write_text(card, encoding="utf-8")


def _front(subject: Subject) -> ModelCardData:
    """Returns what the hub reads of a card: https://huggingface.co/docs/hub/model-cards#model-card-metadata."""
    return ModelCardData(
        base_model=None if is_local(subject.base) else subject.base,
        datasets=list(subject.datasets) or None,
        library_name="peft" if subject.adapters else "transformers",
        license=_license_of(subject.base),
        model_name=subject.title,
        pipeline_tag="text-generation",
        tags=["easydel-dpo", "dpo", "preference-optimization", *(["lora"] if subject.adapters else [])],
    )


def _what(subject: Subject, settings: Mapping[str, Any]) -> str:
    base = (
        f"`{Path(subject.base).name}`"
        if is_local(subject.base)
        else f"[{subject.base}](https://huggingface.co/{subject.base})"
    )
    loss = settings.get("loss_type", DPOConfig.loss_type)
    losses = " + ".join(loss) if isinstance(loss, list) else loss
    beta = settings.get("beta", DPOConfig.beta)
    on = f" on {', '.join(f'[{name}](https://huggingface.co/datasets/{name})' for name in subject.datasets)}"
    made = "Adapters for" if subject.adapters else "Made from"
    return f"{made} {base} by preference optimisation (loss `{losses}`, beta {beta:g}){on if subject.datasets else ''}."


def is_local(name: str) -> bool:
    """Returns whether a model or dataset is a file or folder here, and not a name on the hub, such as `owner/name`.

    >>> is_local("meta-llama/Llama-3.1-8B"), is_local("./model"), is_local("data/*.jsonl")
    (False, True, True)
    """
    return re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", name) is None or Path(name).exists()


def _license_of(base: str) -> str | None:
    """Returns the license that the card of the base model names, if it has one that is on this machine."""
    if is_local(base):
        card: object = Path(base).expanduser() / "README.md"
    else:
        card = try_to_load_from_cache(base, "README.md")
    if not isinstance(card, str | Path) or not Path(card).is_file():
        return None
    try:
        return ModelCard.load(card, ignore_metadata_errors=True).data.get("license")
    except (HFValidationError, ValueError, yaml.YAMLError):  # somebody else's text
        return None
