"""Rows of datasets on the Hugging Face hub.

`datasets` turns the string "42" into a number where a column of a JSON file has values of several kinds, reads numbers
below 1e-10 in a list as 0, takes rows with certain columns for traces of agents, and `NA` in CSV files for a missing
value. So JSON and CSV files are downloaded and read like local ones; files of the other kinds have types.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from easydel.data.dataset_builders import (
    builder_errors,
    card_settings,
    check_config_of,
    configs_of,
    kind_of,
    load_builder,
)
from easydel.data.files import DataFile, Row, marked_rows
from easydel.errors import DataError

_ADDRESS = re.compile(r"hf://datasets/(?P<repository>[^@]+)@(?P<revision>[^/]+)/(?P<file>.+)")
_READ_HERE = ("json", "csv")


@dataclass(frozen=True)
class HubFiles:
    """The rows of files on the hub; each is downloaded when it is reached, to the cache of `huggingface_hub`."""

    addresses: Sequence[str]
    kind: str
    separator: str | None
    field: str | None

    def __iter__(self) -> Iterator[Row]:
        for address in self.addresses:
            yield from marked_rows(DataFile(_downloaded(address), self.kind, self.separator, self.field))


def hub_splits(name: str, config: str | None, wanted: Sequence[str]) -> dict[str, HubFiles | None]:
    """Returns the rows of each split of a dataset on the hub; None in place of files that `datasets` reads.

    Args:
        wanted: the splits to load.

    Raises:
        DataError: an unknown dataset or config, or several configs and none named.
    """
    try:
        builder = load_builder(name, config)
    except builder_errors() as error:
        check_config_of(f"{name!r} on the Hugging Face hub", config, configs_of(name) if "onfig" in str(error) else [])
        raise _not_loaded(name, "+".join(wanted), error) from error
    splits = {str(split): list(map(str, files)) for split, files in (builder.config.data_files or {}).items()}
    if kind_of(builder) not in _READ_HERE or not all(
        _ADDRESS.fullmatch(file) for each in splits.values() for file in each
    ):
        return dict.fromkeys(splits or wanted)
    settings = card_settings(name, builder)
    return {split: HubFiles(files, kind_of(builder), *settings) for split, files in splits.items()}


def load_hub_split(name: str, config: str | None, split: str, *, streaming: bool) -> Any:
    """Returns one split of a dataset on the hub: a `Dataset`, or an `IterableDataset` with `streaming`.

    Raises:
        DataError: it cannot be loaded, with the reason.
    """
    import datasets

    try:
        return datasets.load_dataset(name, config, split=split, streaming=streaming)
    except builder_errors() as error:
        raise _not_loaded(name, split, error) from error


def _downloaded(address: str) -> Path:
    from huggingface_hub import hf_hub_download

    match = _ADDRESS.fullmatch(address)
    assert match is not None
    try:
        return Path(
            hf_hub_download(match["repository"], match["file"], repo_type="dataset", revision=match["revision"])
        )
    except OSError as error:
        raise DataError(f"cannot download {address}: {' '.join(str(error).split())}") from error


def _not_loaded(name: str, split: str, error: Exception) -> DataError:
    reason = " ".join(str(error).split())
    part = f"split {split!r} of " if split else ""
    return DataError(f"cannot load {part}{name!r} (not a file or folder here) from the Hugging Face hub: {reason}")
