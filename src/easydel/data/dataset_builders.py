"""What `datasets` knows of a folder or of a dataset on the hub: its configs, its files, and what its card sets.

None of the data is read or copied here.
"""

import tempfile
from collections.abc import Sequence
from typing import Any
from zipfile import BadZipFile

from easydel.errors import DataError, nearest

# Settings of a card that do not change what a file says; `separator` and `field` are read.
_WITHOUT_EFFECT = frozenset(
    (
        *("name", "version", "data_dir", "data_files", "description", "features"),
        *("chunksize", "block_size", "use_threads", "newlines_in_values", "on_mixed_types"),
        *("parse_agent_traces", "batch_size", "low_memory", "memory_map"),
        *("engine", "dtype", "on_bad_files"),
    )
)


def check_config_of(words: str, config: str | None, configs: Sequence[str]) -> None:
    """Checks that a config is named where there are several, and that the dataset has it.

    Args:
        words: what the message calls the dataset.
        configs: those it has; empty where they cannot be known.

    Raises:
        DataError: no config, or an unknown one.
    """
    listed = ", ".join(map(repr, configs))
    if config is None and len(configs) > 1:
        raise DataError(f"{words} has several configs, {listed}: choose one (dataset_config).")
    if config is not None and configs and config not in configs:
        raise DataError(f"{words} has no config {config!r}, only {listed}.{nearest(config, configs)}")


def builder_errors() -> tuple[type[Exception], ...]:
    """Returns the errors that `datasets` raises for a folder, or a name on the hub, that it cannot read."""
    import yaml
    from datasets.exceptions import DatasetsError

    # RuntimeError is for a dataset that is a script, which is never run.
    known = (OSError, ValueError, TypeError, KeyError, AttributeError, RuntimeError, BadZipFile)
    return (*known, DatasetsError, yaml.YAMLError)


def load_builder(where: str, config: str | None) -> Any:
    """Returns the builder of `datasets` for a folder, or a name on the hub, which knows its data files.

    Raises:
        Exception: one of `builder_errors()`.
    """
    import datasets

    with tempfile.TemporaryDirectory() as scratch:
        return datasets.load_dataset_builder(where, config, cache_dir=scratch)


def configs_of(where: str) -> list[str]:
    """Returns the names of the configs of a folder, or of a dataset on the hub; [] where they cannot be known."""
    import datasets

    try:
        return list(datasets.get_dataset_config_names(where))
    except builder_errors():
        return []


def kind_of(builder: Any) -> str:
    """Returns the type of files that `datasets` found, such as json."""
    return type(builder).__module__.rpartition(".")[2]


def card_settings(name: str, builder: Any) -> tuple[str | None, str | None]:
    """Returns the CSV separator and the JSON field that a dataset card sets; None where it does not.

    Raises:
        DataError: another setting that would change what a file says.
    """
    kind = kind_of(builder)
    usual, given = vars(type(builder.config)()), vars(builder.config)
    changed = {key: value for key, value in given.items() if key not in _WITHOUT_EFFECT and value != usual.get(key)}
    separator = changed.pop("sep", None) if kind == "csv" else None
    changed.pop("delimiter", None)
    field = changed.pop("field", None) if kind == "json" else None
    if changed:
        key, value = next(iter(changed.items()))
        raise DataError(
            f"the dataset card of {name!r} sets {key} = {value!r}, which is not supported here. Load it with "
            "datasets.load_dataset and pass the rows, or write the files in the default form."
        )
    return separator, field


def one_line(error: Exception) -> str:
    """Returns the message of an error of `datasets`, shortened, on one line that ends in a full stop."""
    words = " ".join(str(error).split()) or type(error).__name__
    return words[:300] + ("" if words.endswith(".") else ".")
