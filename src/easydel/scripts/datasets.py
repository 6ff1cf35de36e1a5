"""The datasets of a command line: one or several to train on, mixed by weight, and several to evaluate on."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from easydel.data.source import load_rows, stream_rows
from easydel.errors import ConfigError

if TYPE_CHECKING:
    from easydel.data.bad_rows import OnBadRow
    from easydel.data.mix import Stop

Rows = Iterable[Mapping[str, Any]]
_NAMED = re.compile(r"(?P<name>[\w.-]+)=(?P<dataset>.+)")


def names_of(datasets: str | list[str]) -> list[str]:
    """Returns the names in an option that takes one or several."""
    return [datasets] if isinstance(datasets, str) else datasets


def check_datasets(datasets: str | list[str], weights: Sequence[float] | None, stop: "Stop") -> None:
    """Checks that the training datasets and their weights go together.

    Raises:
        ConfigError: they do not.
    """
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
            f"--dataset_stop {stop} has no meaning without --dataset_weights, as every row is then used once: drop it."
        )


def check_configs(option: str, configs: str | list[str] | None, datasets: Sequence[str]) -> None:
    """Checks that there is one config for all datasets, or one for each.

    Raises:
        ConfigError: there is not.
    """
    if isinstance(configs, list) and len(configs) > 1 and len(configs) != len(datasets):
        raise ConfigError(
            f"--{option} {' '.join(configs)} must be one config for all datasets, or one for each of the "
            f"{len(datasets)}: {' '.join(datasets)}. Write none for a dataset without configs."
        )


def configs_of(configs: str | list[str] | None, datasets: Sequence[str]) -> list[str | None]:
    """Returns the config of each dataset; a single one is that of all.

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
    on_bad_row: "OnBadRow" = "stop",
) -> Rows:
    """Returns the rows to train on; those of several datasets are mixed.

    Args:
        configs: that of all datasets, or of each.
        streaming: read each row when it is needed.

    Raises:
        DataError: rows that cannot be read, see `easydel.data.source.load_rows`.
    """
    names, read = names_of(datasets), stream_rows if streaming else load_rows
    rows = [
        read(name, split, config, on_bad_row=on_bad_row)
        for name, config in zip(names, configs_of(configs, names), strict=True)
    ]
    if len(rows) == 1:
        return rows[0]
    from easydel.data.mix import mix  # numpy takes longer than all of `--help`

    return mix(rows, weights, seed=seed, stop=stop)


def load_eval(
    datasets: str | list[str] | None,
    training: str | list[str],
    split: str | None,
    *,
    configs: str | list[str] | None = None,
    training_configs: str | list[str] | None = None,
    on_bad_row: "OnBadRow" = "stop",
) -> Rows | dict[str, Rows] | None:
    """Returns the eval rows; of several datasets, by name; None where there are none.

    Args:
        training: the datasets to take `split` of where `datasets` is None.
        configs: that of all datasets, or of each; by default a dataset that is trained on too has the same.

    Raises:
        ConfigError: datasets that are not told apart by names.
        DataError: rows that cannot be read, see `easydel.data.source.load_rows`.
    """
    if datasets is None:
        configs = training_configs if configs is None else configs
        return None if split is None else load_training(training, split, configs=configs, on_bad_row=on_bad_row)
    named = eval_names(datasets)
    if configs is None:
        names = names_of(training)
        trained = dict(zip(names, configs_of(training_configs, names), strict=True))
        of_each = [trained.get(each) for each in named.values()]
    else:
        of_each = configs_of(configs, list(named.values()))
    sets: dict[str, Rows] = {
        name: load_rows(each, split, config, on_bad_row=on_bad_row)
        for (name, each), config in zip(named.items(), of_each, strict=True)
    }
    return sets.get("", sets)


def eval_names(datasets: str | list[str]) -> dict[str, str]:
    """Returns the eval datasets by the names before them, as in `easy=easy.jsonl`; that of a single one may be "".

    Raises:
        ConfigError: several, of which one has no name, or two have the same.
    """
    sets: dict[str, str] = {}
    for text in names_of(datasets):
        match = None if Path(text).exists() else _NAMED.fullmatch(text)
        name, dataset = (match["name"], match["dataset"]) if match else ("", text)
        if name in sets or (not name and len(names_of(datasets)) > 1):
            wrong = f"two datasets are called {name!r}" if name else f"{text!r} has no name"
            raise ConfigError(
                f"--eval_dataset_name: {wrong}. Give each of several datasets its own name: easy=easy.jsonl "
                "hard=hard.jsonl."
            )
        sets[name] = dataset
    return sets


def describe(datasets: str | list[str], split: str | None, configs: str | list[str] | None = None) -> str:
    """Returns which rows the numbers in an error message count, as text."""
    names = names_of(datasets)
    part = f"split {split}" if split else "the only split"
    if configs is not None:
        part += f" of config {' '.join(names_of(configs))}"
    return f"{part} of {names[0]}" if len(names) == 1 else f"{part} of each of {', '.join(names)}"


def place_of(message: str, sets: Mapping[str, Any], datasets: str | list[str], max_samples: int | None = None) -> str:
    """Returns the dataset and row that an error message about a mixture is about, as text; "" without a mixture.

    Args:
        sets: the results of `load_training` and `load_eval`, by the name of the argument they are given as.
        datasets: the datasets that are mixed.
        max_samples: the number of first rows that were taken of each dataset; None for all.
    """
    from easydel.data.mix import MixedStream, Mixture, first_of_each

    named = re.match(r"(\w+): row (\d+)\b", message)
    rows = None if named is None else sets.get(named[1])
    if named is None or not isinstance(rows, Mixture | MixedStream):
        return ""
    mixed = first_of_each(rows, max_samples)
    place = mixed.origin(int(named[2])) if isinstance(mixed, Mixture | MixedStream) else None
    if place is None:
        return ""
    dataset, number = place
    return f" Row {named[2]} of the mixture is row {number} of {names_of(datasets)[dataset]}."
