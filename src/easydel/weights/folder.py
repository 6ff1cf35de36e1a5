"""Writes a model folder so that a crash or an error at any moment leaves the previous one whole."""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

_OURS = (
    *("config.json", "generation_config.json", "model.safetensors.index.json"),
    *("adapter_config.json", "adapter_model.safetensors"),
)


def replace_folder(folder: Path, write: Callable[[Path], None]) -> None:
    """Makes `folder` hold what `write` puts into an empty folder, and keeps files that are not the model's.

    `write` works in a temporary folder beside `folder`, which takes its place by renaming only when `write`
    has returned. Everything is flushed to disk before. Whatever else lay in `folder` (a tokenizer, notes)
    is moved over; old weights are not.

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
    for entry in previous.iterdir():
        if not _is_models(entry.name) and not (folder / entry.name).exists():
            os.replace(entry, folder / entry.name)
    shutil.rmtree(previous)


def _is_models(name: str) -> bool:
    return name in _OURS or (name.startswith("model") and name.endswith(".safetensors"))


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
