"""The model card of an export: `README.md` with what the hub asks for in front, and `curves.svg`."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from huggingface_hub import ModelCard, ModelCardData, try_to_load_from_cache
from huggingface_hub.errors import HFValidationError

import easydel
from easydel.trainers.config import MAY_CHANGE_ON_RESUME, DPOConfig
from easydel.trainers.report.curves import panels_of
from easydel.trainers.report.page import environment
from easydel.trainers.report.run import NAMES, Run
from easydel.trainers.report.tables import Table, eval_tables

# The panels of the picture: enough to see whether a run was healthy.
_SHOWN = ("Loss", "Reward accuracy", "Reward margin", "Log-probability")
# Settings that change which weights a run ends with, though not what it computes.
_CHOICE = ("load_best_at_end", "early_stopping_patience", "early_stopping_threshold")
# Settings of the machine, of accounts and of the moment, which would not help to make the model again.
_LOCAL = frozenset(NAMES) | MAY_CHANGE_ON_RESUME - frozenset(_CHOICE)


class ModelCardFacts(NamedTuple):
    """What a card is about."""

    title: str
    base: str  # a name on the hub, or a folder here
    settings: Mapping[str, Any]  # that are not the default
    datasets: Sequence[str]  # names on the hub
    adapters: bool  # the export is adapters without their base
    place: str = ""  # where it will be on the hub
    source: str = ""  # where the base was read, if not under its name


def write_card(folder: Path, facts: ModelCardFacts, run: Run | None) -> None:
    """Writes `README.md` and, of a run that logged anything, `curves.svg` into the folder of an export.

    Nothing of this machine is in it: of a base or dataset in a folder here only the last part of its name.
    """
    templates = environment()
    panels = [] if run is None else [panel for panel in panels_of(run) if panel.chart.title in _SHOWN]
    if panels:
        picture = templates.get_template("curves.svg").render(panels=panels)
        (folder / "curves.svg").write_text(picture, encoding="utf-8")
    run_facts = {} if run is None else {name: value for name, value in run.facts.items() if name != "model"}
    settings = {name: value for name, value in facts.settings.items() if name not in _LOCAL}
    # Markdown is no HTML: its text is written as it is.
    plain = templates.overlay(autoescape=False)
    card = plain.get_template("card.md").render(
        front=_front(facts).to_yaml(),
        title=facts.title,
        what=_what(facts, settings),
        version=easydel.__version__,
        results=[] if run is None else eval_tables(run),
        curves="curves.svg" if panels else None,
        facts=Table(["", ""], [[name, value] for name, value in run_facts.items()]) if run_facts else None,
        settings=yaml.safe_dump(settings, sort_keys=False) if settings else "",
        adapters=facts.adapters,
        place=facts.place or ".",
    )
    (folder / "README.md").write_text(card, encoding="utf-8")


def _front(facts: ModelCardFacts) -> ModelCardData:
    """Returns what the hub reads of a card: https://huggingface.co/docs/hub/model-cards#model-card-metadata."""
    return ModelCardData(
        base_model=None if is_local(facts.base) else facts.base,
        datasets=list(facts.datasets) or None,
        library_name="peft" if facts.adapters else "transformers",
        license=_license_of(facts.source or facts.base),
        model_name=facts.title,
        pipeline_tag="text-generation",
        tags=["easydel-dpo", "dpo", "preference-optimization", *(["lora"] if facts.adapters else [])],
    )


def _what(facts: ModelCardFacts, settings: Mapping[str, Any]) -> str:
    base = (
        f"`{Path(facts.base).name}`" if is_local(facts.base) else f"[{facts.base}](https://huggingface.co/{facts.base})"
    )
    loss = settings.get("loss_type", DPOConfig.loss_type)
    losses = " + ".join(loss) if isinstance(loss, list) else loss
    beta = settings.get("beta", DPOConfig.beta)
    on = f" on {', '.join(f'[{name}](https://huggingface.co/datasets/{name})' for name in facts.datasets)}"
    made = "Adapters for" if facts.adapters else "Made from"
    return f"{made} {base} by preference optimization (loss `{losses}`, beta {beta:g}){on if facts.datasets else ''}."


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
