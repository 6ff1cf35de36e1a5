"""The datasets a command line names: one or several to train on, mixed by weight, and several to evaluate on."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from easydel.data.source import load_rows, stream_rows
from easydel.errors import ConfigError

if TYPE_CHECKING:
    from easydel.data.mix import Stop

Rows = Iterable[Mapping[str, Any]]
_NAMED = re.compile(r"(?P<name>[\w.-]+)=(?P<dataset>.+)")


def names_of(datasets: str | list[str]) -> list[str]:
    """Returns the names in an option that takes one or several."""
    return [datasets] if isinstance(datasets, str) else datasets


def check_datasets(datasets: str | list[str], weights: Sequence[float] | None, stop: "Stop") -> None:
    """Raises ConfigError for datasets to train on, and weights, that do not go together."""
    names = names_of(datasets)
    if len(names) > 1 and not all(name.strip() for name in names):
        raise ConfigError(f"--dataset_name {','.join(names)} has an empty name in it: is a shell variable not set?")
    if weights is not None and len(names) == 1:
        raise ConfigError("--dataset_weights has no meaning for one dataset: drop it, or name more in --dataset_name.")
    if weights is not None and len(weights) != len(names):
        shown = " ".join(f"{weight:g}" for weight in weights)
        raise ConfigError(
            f"--dataset_weights {shown} must be one number for each of the {len(names)} datasets of --dataset_name."
        )
    if weights is None and stop != "first_exhausted":
        raise ConfigError(
            f"--dataset_stop {stop} has no meaning without --dataset_weights, as every row then comes once: drop it."
        )


def check_configs(option: str, configs: str | list[str] | None, datasets: Sequence[str]) -> None:
    """Raises ConfigError for configs of which there is not one for each of the datasets, nor one for all."""
    if isinstance(configs, list) and len(configs) > 1 and len(configs) != len(datasets):
        raise ConfigError(
            f"--{option} {' '.join(configs)} must be one config for all datasets, or one for each of the "
            f"{len(datasets)}: {' '.join(datasets)}. Write none for one that has no configs."
        )


def configs_of(configs: str | list[str] | None, datasets: Sequence[str]) -> list[str | None]:
    """Returns the config of each dataset; one that is named alone is that of all.

    >>> configs_of("en", ["a", "b"]), configs_of(["en", "none"], ["a", "b"])
    (['en', 'en'], ['en', None])
    """
    named = [configs] if configs is None or isinstance(configs, str) else configs
    each: list[str | None] = [None if name is None or name.lower() == "none" else name for name in named]
    return each * len(datasets) if len(each) == 1 else each


def load_training(
    datasets: str | list[str],
    split: str,
    *,
    configs: str | list[str] | None = None,
    weights: Sequence[float] | None = None,
    stop: "Stop" = "first_exhausted",
    streaming: bool = False,
    seed: int = 0,
) -> Rows:
    """Returns the rows to train on; those of several datasets are mixed.

    Args:
        configs: that of all datasets, or of each.
        streaming: read no row before it is asked for.
    """
    names, read = names_of(datasets), stream_rows if streaming else load_rows
    rows = [read(name, split, config) for name, config in zip(names, configs_of(configs, names), strict=True)]
    if len(rows) == 1:
        return rows[0]
    from easydel.data.mix import mix  # numpy takes longer than all of `--help`

    return mix(rows, weights, seed=seed, stop=stop)


def load_evaluation(
    datasets: str | list[str] | None,
    training: str | list[str],
    split: str | None,
    *,
    configs: str | list[str] | None = None,
    training_configs: str | list[str] | None = None,
) -> Rows | dict[str, Rows] | None:
    """Returns the rows to evaluate on; of sets that have names, by name; None where nothing asks for any.

    Args:
        training: what to take a split of where `datasets` names nothing.
        configs: that of all sets, or of each; None takes that which a dataset is trained on with, if it is.
    """
    if datasets is None:
        configs = training_configs if configs is None else configs
        return None if split is None else load_training(training, split, configs=configs)
    named = evaluation_sets(datasets)
    if configs is None:
        names = names_of(training)
        trained = dict(zip(names, configs_of(training_configs, names), strict=True))
        of_each = [trained.get(each) for each in named.values()]
    else:
        of_each = configs_of(configs, list(named.values()))
    sets: dict[str, Rows] = {
        name: load_rows(each, split, config) for (name, each), config in zip(named.items(), of_each, strict=True)
    }
    return sets.get("", sets)


def evaluation_sets(datasets: str | list[str]) -> dict[str, str]:
    """Returns the datasets by the names written before them, `easy=easy.jsonl`; the name of a single one may be "".

    Raises:
        ConfigError: several of which one has no name, or two have the same.
    """
    sets: dict[str, str] = {}
    for text in names_of(datasets):
        match = None if Path(text).exists() else _NAMED.fullmatch(text)
        name, dataset = (match["name"], match["dataset"]) if match else ("", text)
        if name in sets or (not name and len(names_of(datasets)) > 1):
            wrong = f"two sets are called {name!r}" if name else f"{text!r} has no name"
            raise ConfigError(
                f"--eval_dataset_name: {wrong}. Several sets are told apart by names of their own, as in "
                "easy=easy.jsonl hard=hard.jsonl."
            )
        sets[name] = dataset
    return sets


def describe(datasets: str | list[str], split: str | None, configs: str | list[str] | None = None) -> str:
    """Returns in words where the rows are that an error message numbers."""
    names = names_of(datasets)
    part = f"split {split}" if split else "the only split"
    if configs is not None:
        part += f" of config {' '.join(names_of(configs))}"
    return f"{part} of {names[0]}" if len(names) == 1 else f"{part} of each of {', '.join(names)}"


def place_of(message: str, sets: Mapping[str, Any], datasets: str | list[str], most: int | None = None) -> str:
    """Returns in words where the row lies that an error message about a mixture names; "" where there is no need.

    Args:
        sets: what `load_training` and `load_evaluation` gave, by the name of the argument they are given as.
        datasets: the datasets that those of them which are mixtures are made of.
        most: the rows that were taken of each dataset, the first; None is all.
    """
    from easydel.data.mix import MixedStream, Mixture, first_of_each

    named = re.match(r"(\w+): row (\d+)\b", message)
    rows = None if named is None else sets.get(named[1])
    if named is None or not isinstance(rows, Mixture | MixedStream):
        return ""
    mixed = first_of_each(rows, most)
    place = mixed.origin(int(named[2])) if isinstance(mixed, Mixture | MixedStream) else None
    if place is None:
        return ""
    dataset, number = place
    return f" Row {named[2]} of the mixture is row {number} of {names_of(datasets)[dataset]}."
