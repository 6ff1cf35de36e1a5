"""The splits of a folder: which of its files are whose, as `datasets` finds it, and folders of `save_to_disk`."""

import re
import tempfile
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

from easydel.data.files import DataFile, accepted, is_data_file
from easydel.errors import DataError, nearest

_KEYWORDS = "train|training|validation|valid|dev|val|test|testing|eval|evaluation"
_NAMED = re.compile(rf"(?:^|.*[-._ 0-9])({_KEYWORDS})(?:[-._ 0-9].*|$)")
_SHARD = re.compile(r"([-._ ]?\d+(-of-\d+)?)?(\.[^/]*)?$")
_READ = ("json", "csv", "parquet", "arrow")
_ARCHIVES = (".zip", ".tar", ".tgz", ".7z", ".rar")
_ABOUT_DATA = ("config.json", "dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json")
# Of a card's settings these do not change what a file says; `separator` and `field` are read.
_WITHOUT_EFFECT = frozenset(
    (
        "name",
        "version",
        "data_dir",
        "data_files",
        "description",
        "features",
        "chunksize",
        "block_size",
        "use_threads",
        "newlines_in_values",
        "on_mixed_types",
        "parse_agent_traces",
        "batch_size",
        "low_memory",
        "memory_map",
        "engine",
        "dtype",
        "on_bad_files",
    )
)


def folder_splits(name: str, config: str | None = None) -> dict[str, list[DataFile]]:
    """Returns the files of a folder by the splits that `datasets.load_dataset(name, config)` gives.

    Names of files and of folders in it say which split they are of; the card (`README.md`) may say it with `configs`.
    Nothing is copied: `datasets` finds the files, and they are read here.

    Args:
        config: one of those of the card.

    Raises:
        DataError: there is no data, or no such config; several configs and none named; a file that is of two splits,
            or files that are not read here.
    """
    folder = Path(name).expanduser().resolve()
    if marks := [mark for mark in ("*", "::", "?", "[", "]") if mark in str(folder)]:
        raise DataError(
            f"the folder {str(folder)!r} cannot be searched, as its path has {marks[0]!r} in it: rename it."
        )
    builder = _builder(name, str(folder), config)
    kind = kind_of(builder)
    given = {str(split): list(files) for split, files in builder.config.data_files.items()}
    if kind not in _READ:
        if not any(_data_files(folder)):
            raise DataError(f"no data file at {name!r}: expected {accepted()} files.")
        first = _relative(next(iter(next(iter(given.values()), [])), ""), folder)
        raise DataError(
            f"datasets takes {name!r} for a folder of {kind} files, as of {first!r}. Name the data instead: a file, or "
            f"a glob such as {str(Path(name) / '*.jsonl')!r}. Read are {accepted()}."
        )
    separator, field = card_settings(name, builder)
    splits: dict[str, list[DataFile]] = {}
    for split, files in given.items():
        if far := [file for file in files if "://" in file]:
            raise DataError(f"the card of {name!r} says that split {split!r} is at {far[0]}: only files here are read.")
        if packed := [file for file in files if Path(file).suffix.lower() in _ARCHIVES]:
            raise DataError(
                f"split {split!r} of {name!r} is in the archive {_relative(packed[0], folder)!r}, which is not read "
                "here: unpack it."
            )
        paths = [Path(name).expanduser() / _relative(file, folder) for file in files]
        splits[split] = [DataFile(path, kind, separator, field) for path in paths]
    if not builder.config.data_dir and not _has_configs(folder):
        _check_names(name, splits)
    return splits


def named_files(name: str, split: str) -> list[DataFile]:
    """Returns the files of a folder that bear exactly this name, as `train_prefs.jsonl` and `train_prefs/a.jsonl` do.

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
        raise DataError(f"cannot load what Dataset.save_to_disk wrote to {name!r}: {_words(error)}") from error
    parts = saved if isinstance(saved, datasets.DatasetDict) else {"train": saved}
    return {str(split): part.with_format(None) for split, part in parts.items()}


def check_config(name: str, config: str | None) -> None:
    """Raises DataError where a config is asked for of what has none: a file, a glob, a folder of `save_to_disk`."""
    if config not in (None, "default"):
        raise DataError(f"{name!r} has no config {config!r}: only a folder with a card, or a dataset on the hub, has.")


def check_config_of(words: str, config: str | None, configs: Sequence[str]) -> None:
    """Raises DataError where none of several configs is named, or one that a dataset does not have.

    Args:
        words: what the message calls the dataset.
        configs: those it has; none where they cannot be known.
    """
    listed = ", ".join(map(repr, configs))
    if config is None and len(configs) > 1:
        raise DataError(f"{words} has the configs {listed}: name the one to take (dataset_config).")
    if config is not None and configs and config not in configs:
        raise DataError(f"{words} has no config {config!r}, only {listed}.{nearest(config, configs)}")


def builder_errors() -> tuple[type[Exception], ...]:
    """Returns what `datasets` raises where it cannot make out what lies in a folder, or on the hub."""
    import yaml
    from datasets.exceptions import DatasetsError

    # RuntimeError is said of a dataset that is a script, which is never run.
    known = (OSError, ValueError, TypeError, KeyError, AttributeError, RuntimeError, BadZipFile)
    return (*known, DatasetsError, yaml.YAMLError)


def load_builder(where: str, config: str | None) -> Any:
    """Returns what knows the data files of a folder, or of a name on the hub; it reads and keeps none of the data."""
    import datasets

    with tempfile.TemporaryDirectory() as scratch:
        return datasets.load_dataset_builder(where, config, cache_dir=scratch)


def _builder(name: str, folder: str, config: str | None) -> Any:
    try:
        return load_builder(folder, config)
    except builder_errors() as error:
        if not any(_data_files(Path(folder))):
            raise DataError(f"no data file at {name!r}: expected {accepted()} files.") from error
        check_config_of(repr(name), config, configs_of(folder))
        quotes = " A config_name that YAML reads as a number or truth value needs quotes."
        raise DataError(
            f"datasets cannot make out what is in {name!r}: {_words(error)}"
            f"{quotes if isinstance(error, TypeError) else ''} Put it right, or name the files: "
            f"{str(Path(name) / '*.jsonl')!r}."
        ) from error


def configs_of(where: str) -> list[str]:
    """Returns the names of the configs of a folder, or of a dataset on the hub; none where they cannot be known."""
    import datasets

    try:
        return list(datasets.get_dataset_config_names(where))
    except builder_errors():
        return []


def kind_of(builder: Any) -> str:
    """Returns of which kind `datasets` takes the files to be, such as json."""
    return type(builder).__module__.rpartition(".")[2]


def card_settings(name: str, builder: Any) -> tuple[str | None, str | None]:
    """Returns the separator and the field that a card sets; any other setting of it that has an effect is an error."""
    kind = kind_of(builder)
    usual, given = vars(type(builder.config)()), vars(builder.config)
    changed = {key: value for key, value in given.items() if key not in _WITHOUT_EFFECT and value != usual.get(key)}
    separator = changed.pop("sep", None) if kind == "csv" else None
    changed.pop("delimiter", None)
    field = changed.pop("field", None) if kind == "json" else None
    if changed:
        key, value = next(iter(changed.items()))
        raise DataError(
            f"the card of {name!r} sets {key} = {value!r}, which is not read here. Load it with datasets.load_dataset "
            "and pass the rows, or write the files in the usual form."
        )
    return separator, field


def _has_configs(folder: Path) -> bool:
    """Whether the card says which files are whose."""
    cards = [folder / name for name in ("README.md", ".huggingface.yaml")]
    return any(
        re.search(r"^configs:", card.read_text(encoding="utf-8"), re.MULTILINE) for card in cards if card.is_file()
    )


def _check_names(name: str, splits: Mapping[str, Sequence[DataFile]]) -> None:
    """Raises DataError for files whose names say something else than `datasets` makes of them."""
    folder = Path(name).expanduser()
    owner: dict[Path, str] = {}
    for split, files in splits.items():
        for file in files:
            shown = str(file.path.relative_to(folder))
            if owner.setdefault(file.path, split) != split:
                raise DataError(
                    f"{shown!r} in {name!r} bears the names of two splits, {owner[file.path]!r} and {split!r}: rename "
                    "it, or say in a card (configs) which it is of."
                )
            if list(splits) == ["train"] and shown != shown.lower() and _says_held_out(Path(shown.lower())):
                raise DataError(
                    f"{shown!r} in {name!r} would be trained on: names of splits are written in small letters. Rename "
                    "it, or say in a card (configs) which split it is of."
                )


def warn_of_names(name: str, splits: Mapping[str, Sequence[DataFile]], wanted: Sequence[str]) -> None:
    """Warns of files that a split asked for takes in, or leaves out, against what their names make one expect."""
    folder = Path(name).expanduser()
    if _has_configs(folder) or not any(split in splits for split in wanted):
        return
    owned = {file.path for files in splits.values() for file in files}
    labels = _labels(folder, splits.get("train", ())) if "train" in wanted else []
    if len(labels) > 1:
        warnings.warn(
            f"split 'train' of {name!r} is all of {', '.join(labels)}, as in datasets; ask for {labels[0]!r} to take "
            "that alone.",
            stacklevel=2,
        )
    if left := [path for path in _data_files(folder) if path not in owned and path.name not in _ABOUT_DATA]:
        files, are = ("files", "are") if len(left) > 1 else ("file", "is")
        warnings.warn(
            f"{len(left)} data {files} in {name!r} {are} of no split, such as {str(left[0].relative_to(folder))!r}, "
            f"and {are} not read, as in datasets.",
            stacklevel=2,
        )


def _says_held_out(path: Path) -> bool:
    """Whether a part of a path is the name of another split than `train`."""
    return any(match and not match[1].startswith("train") for match in map(_NAMED.fullmatch, path.parts))


def _labels(folder: Path, files: Iterable[DataFile]) -> list[str]:
    """The names of the files of a split, or of their folders, without the numbers of shards."""
    paths = [file.path.relative_to(folder) for file in files]
    return sorted({label for path in paths if (label := _label(path)) is not None})


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


def _words(error: Exception) -> str:
    words = " ".join(str(error).split()) or type(error).__name__
    return words[:300] + ("" if words.endswith(".") else ".")
