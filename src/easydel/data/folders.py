"""The splits of a folder: which of its files are in which, as in `datasets`; and folders of `save_to_disk`."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from easydel.data.dataset_builders import (
    builder_errors,
    card_settings,
    check_config_of,
    configs_of,
    kind_of,
    load_builder,
    one_line,
)
from easydel.data.files import DataFile, accepted, is_data_file
from easydel.errors import DataError, warn

_KEYWORDS = "train|training|validation|valid|dev|val|test|testing|eval|evaluation"
_NAMED = re.compile(rf"(?:^|.*[-._ 0-9])({_KEYWORDS})(?:[-._ 0-9].*|$)")
_SHARD = re.compile(r"([-._ ]?\d+(-of-\d+)?)?(\.[^/]*)?$")
_READ = ("json", "csv", "parquet", "arrow")
_ARCHIVES = (".zip", ".tar", ".tgz", ".7z", ".rar")
_ABOUT_DATA = ("config.json", "dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json")


def folder_splits(name: str, config: str | None = None) -> dict[str, list[DataFile]]:
    """Returns the files of a folder by the splits that `datasets.load_dataset(name, config)` gives.

    Names of files and of folders in it say which split they are in; the dataset card (`README.md`) may, with `configs`.
    Nothing is copied: `datasets` finds the files, and they are read here.

    Args:
        config: one of those of the card.

    Raises:
        DataError: no data; an unknown config, or several and none named; a file in two splits; files that cannot be
            read here.
    """
    folder = Path(name).expanduser().resolve()
    if marks := [mark for mark in ("*", "::", "?", "[", "]") if mark in str(folder)]:
        raise DataError(f"the folder {str(folder)!r} cannot be searched, as its path contains {marks[0]!r}: rename it.")
    builder = _builder(name, str(folder), config)
    kind = kind_of(builder)
    given = {str(split): list(files) for split, files in builder.config.data_files.items()}
    if kind not in _READ:
        if not any(_data_files(folder)):
            raise DataError(f"no data file at {name!r}; accepted files: {accepted()}.")
        first = _relative(next(iter(next(iter(given.values()), [])), ""), folder)
        raise DataError(
            f"datasets takes {name!r} for a folder of {kind} files, because of {first!r}. Name a file or a glob "
            f"instead, such as {str(Path(name) / '*.jsonl')!r}. Accepted files: {accepted()}."
        )
    separator, field = card_settings(name, builder)
    splits: dict[str, list[DataFile]] = {}
    for split, files in given.items():
        if far := [file for file in files if "://" in file]:
            raise DataError(f"the dataset card of {name!r} has split {split!r} at {far[0]}; only local files are read.")
        if packed := [file for file in files if Path(file).suffix.lower() in _ARCHIVES]:
            raise DataError(
                f"split {split!r} of {name!r} is in the archive {_relative(packed[0], folder)!r}, which cannot be "
                "read: unpack it."
            )
        paths = [Path(name).expanduser() / _relative(file, folder) for file in files]
        splits[split] = [DataFile(path, kind, separator, field) for path in paths]
    if not builder.config.data_dir and not _has_configs(folder):
        _check_names(name, splits)
    return splits


def named_files(name: str, split: str) -> list[DataFile]:
    """Returns the files of a folder with exactly this name, such as `train_prefs.jsonl` and `train_prefs/a.jsonl`.

    `datasets` has both `train_prefs` and `train_sft` in its split `train`.
    """
    folder = Path(name).expanduser()
    found = [path for path in _data_files(folder) if _label(path.relative_to(folder), split) == split]
    return [DataFile(path) for path in found]


def is_saved(name: str) -> bool:
    """Returns whether a folder was written by `save_to_disk`."""
    path = Path(name).expanduser()
    return (path / "dataset_dict.json").is_file() or (
        (path / "state.json").is_file() and (path / "dataset_info.json").is_file()
    )


def saved_splits(name: str) -> dict[str, Any]:
    """Returns the datasets in a folder of `save_to_disk` by split; a single one is `train`, as a file is.

    Raises:
        DataError: the folder is damaged.
    """
    import datasets

    try:
        saved = datasets.load_from_disk(str(Path(name).expanduser()))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"cannot load what Dataset.save_to_disk wrote to {name!r}: {one_line(error)}") from error
    parts = saved if isinstance(saved, datasets.DatasetDict) else {"train": saved}
    return {str(split): part.with_format(None) for split, part in parts.items()}


def check_config(name: str, config: str | None) -> None:
    """Checks that no config is named for a file, a glob or a folder of `save_to_disk`, which have none.

    Raises:
        DataError: one is named.
    """
    if config not in (None, "default"):
        raise DataError(
            f"{name!r} has no config {config!r}: only folders with a dataset card, and datasets on the hub, have "
            "configs."
        )


def _builder(name: str, folder: str, config: str | None) -> Any:
    try:
        return load_builder(folder, config)
    except builder_errors() as error:
        if not any(_data_files(Path(folder))):
            raise DataError(f"no data file at {name!r}; accepted files: {accepted()}.") from error
        check_config_of(repr(name), config, configs_of(folder))
        quotes = " A config_name that YAML reads as a number or boolean needs quotes."
        raise DataError(
            f"datasets cannot read the folder {name!r}: {one_line(error)}"
            f"{quotes if isinstance(error, TypeError) else ''} Fix the folder, or name the files: "
            f"{str(Path(name) / '*.jsonl')!r}."
        ) from error


def _has_configs(folder: Path) -> bool:
    """Whether the dataset card says which files are in which split."""
    cards = [folder / name for name in ("README.md", ".huggingface.yaml")]
    return any(
        re.search(r"^configs:", card.read_text(encoding="utf-8"), re.MULTILINE) for card in cards if card.is_file()
    )


def _check_names(name: str, splits: Mapping[str, Sequence[DataFile]]) -> None:
    """Raises DataError for files whose names contradict the splits that `datasets` puts them in."""
    folder = Path(name).expanduser()
    owner: dict[Path, str] = {}
    for split, files in splits.items():
        for file in files:
            shown = str(file.path.relative_to(folder))
            if owner.setdefault(file.path, split) != split:
                raise DataError(
                    f"{shown!r} in {name!r} has the names of two splits, {owner[file.path]!r} and {split!r}: rename "
                    "it, or assign it to one in a dataset card (configs)."
                )
            if list(splits) == ["train"] and shown != shown.lower() and _names_another_split(Path(shown.lower())):
                raise DataError(
                    f"{shown!r} in {name!r} would be trained on, as names of splits are lowercase. Rename it, or "
                    "assign it to a split in a dataset card (configs)."
                )


def warn_of_names(name: str, splits: Mapping[str, Sequence[DataFile]], wanted: Sequence[str]) -> None:
    """Warns of files that a wanted split contains, or does not, against what their names make one expect."""
    folder = Path(name).expanduser()
    if _has_configs(folder) or not any(split in splits for split in wanted):
        return
    owned = {file.path for files in splits.values() for file in files}
    # The names of the files of a split, or of their folders, without the numbers of shards.
    training = [_label(file.path.relative_to(folder)) for file in splits.get("train", ()) if "train" in wanted]
    labels = sorted({label for label in training if label is not None})
    if len(labels) > 1:
        warn(
            f"split 'train' of {name!r} combines {', '.join(labels)}, as in datasets; name the split {labels[0]!r} to "
            "use that alone."
        )
    if left := [path for path in _data_files(folder) if path not in owned and path.name not in _ABOUT_DATA]:
        are = "files are" if len(left) > 1 else "file is"
        warn(
            f"{len(left)} data {are} in no split of {name!r} and not read, as in datasets, such as "
            f"{str(left[0].relative_to(folder))!r}."
        )


def _names_another_split(path: Path) -> bool:
    """Whether a part of a path is the name of another split than `train`."""
    return any(match and not match[1].startswith("train") for match in map(_NAMED.fullmatch, path.parts))


def _label(path: Path, wanted: str | None = None) -> str | None:
    for part in path.parts:
        bare = _SHARD.sub("", part) if part == path.name else part
        if bare == wanted if wanted is not None else _NAMED.fullmatch(bare):
            return bare
    return None


def _data_files(folder: Path) -> list[Path]:
    """The data files of a folder that are not hidden."""
    found = (path for path in folder.rglob("*") if is_data_file(path) and path.is_file())
    hidden = (".", "__")
    return sorted(path for path in found if not any(part.startswith(hidden) for part in path.relative_to(folder).parts))


def _relative(file: str, folder: Path) -> str:
    path = Path(file)
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else file
