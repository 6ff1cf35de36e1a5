"""Writes a model folder so that a crash or an error at any moment leaves the previous one whole."""

import itertools
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

# What a save writes, and the next one replaces.
_REPLACED = re.compile(
    r"config\.json|generation_config\.json|model\.safetensors(\.index\.json)?|model-\d{5}-of-\d{5}\.safetensors"
    r"|adapter_config\.json|adapter_model\.safetensors|curves\.svg"
)
# Weights that some program would take for those of the new model, alone or beside them.
_OTHER_WEIGHTS = re.compile(
    r".*\.safetensors(\.index\.json)?|(pytorch_model|adapter_model|consolidated).*\.(bin|pth|json)"
)
TOKENIZER_FILES = re.compile(
    r"tokenizer\.json|tokenizer_config\.json|special_tokens_map\.json|added_tokens\.json|chat_template\.(jinja|json)"
    r"|additional_chat_templates|vocab\.(json|txt)|merges\.txt|tekken\.json|.*\.tiktoken|tiktoken\.model"
    r"|tokenizer\.model(\.v\d+)?|spiece\.model|sentencepiece\.bpe\.model"
)
"""Names of the files of a folder that make up its tokenizer: for transformers, its older versions, and others."""
SET_ASIDE = "previous"
_MARK = b"easydel-dpo"  # in the cards that we write


def replace_folder(folder: Path, write: Callable[[Path], None]) -> None:
    """Makes `folder` hold what `write` puts into an empty folder, and keeps files that are not the model's.

    `write` works in a temporary folder beside `folder`, which takes its place by renaming only when `write`
    has returned. Everything is flushed to disk before. Of what lay in `folder` the files that a save writes are
    replaced, whether this one wrote them or not. What would be read in place of the new files or beside them, other
    weights and, if a tokenizer was written, files of another one, and what has the name of a new file, is moved
    into a subfolder `previous`. The rest (a tokenizer, notes) stays.

    Raises:
        OSError: it could not be written; what was there before still is.
    """
    folder = folder.absolute()
    try:
        _replace(folder, write)
    except OSError as error:
        raise OSError(
            f"{folder} could not be written: {error.strerror or error}. What was there before is whole."
        ) from error


def _replace(folder: Path, write: Callable[[Path], None]) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{folder.name}.new-", dir=folder.parent))
    try:
        write(fresh)
        fresh.chmod(0o777 & ~_umask())  # mkdtemp makes folders that only their owner may enter
        for written in (*fresh.rglob("*"), fresh):
            _sync(written)
        if folder.is_dir():
            _swap(folder, fresh)
        else:
            fresh.rename(folder)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    _sync(folder.parent)


def _swap(folder: Path, fresh: Path) -> None:
    previous = Path(tempfile.mkdtemp(prefix=f".{folder.name}.old-", dir=folder.parent))
    os.replace(folder, previous)
    try:
        os.replace(fresh, folder)
    except OSError:
        os.replace(previous, folder)
        raise
    tokenizer = any(TOKENIZER_FILES.fullmatch(path.name) for path in folder.iterdir())
    aside: Path | None = None
    for entry in sorted(previous.iterdir()):
        taken = (folder / entry.name).exists()
        if _REPLACED.fullmatch(entry.name) or (taken and _is_of_a_save(entry, folder / entry.name)):
            continue
        mixed = tokenizer and TOKENIZER_FILES.fullmatch(entry.name)
        if not (taken or mixed or _OTHER_WEIGHTS.fullmatch(entry.name)):
            os.replace(entry, folder / entry.name)
            continue
        aside = aside or _new_folder(folder, previous)
        os.replace(entry, aside / entry.name)
    shutil.rmtree(previous)


def _is_of_a_save(old: Path, new: Path) -> bool:
    """Returns whether a file may be lost that a new one replaces: one of a tokenizer, of ours, or the same."""
    if TOKENIZER_FILES.fullmatch(old.name):
        return True
    if not (old.is_file() and new.is_file()):
        return False
    held = old.read_bytes()
    return (old.name == "README.md" and _MARK in held) or held == new.read_bytes()


def _new_folder(folder: Path, old: Path) -> Path:
    """Returns a new subfolder for what is set aside, under a name that neither the new nor the old folder has."""
    names = itertools.chain([SET_ASIDE], (f"{SET_ASIDE}.{number}" for number in itertools.count(1)))
    place = next(folder / name for name in names if not (folder / name).exists() and not (old / name).exists())
    place.mkdir()
    return place


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync(path: Path) -> None:
    """Returns when the contents of a file or folder are on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
