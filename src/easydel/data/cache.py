"""A folder of this user's own for what takes long to compute: token ids, and log-probabilities of a reference.

A file is named after the content that determines it, so it can be missing but never out of date. It appears under its
name when it is complete.
"""

import hashlib
import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.lib.npyio import NpzFile

from easydel.errors import ConfigError, warn

AUTO = "auto"
_KEY, _NAMES = "key", "names"  # arrays that say which content a file belongs to, and which others are in it
# What is raised for a file that is cut short, damaged, or of another kind.
_UNREADABLE = (OSError, ValueError, KeyError, EOFError, RuntimeError, BadZipFile)


def open_cache(directory: str | None, name: str) -> Path | None:
    """Returns the folder `<directory>/<name>`, made if need be, which only this user may enter; None for no cache.

    `auto` is `easydel` in the user's cache folder (`XDG_CACHE_HOME`, `~/.cache`); where that cannot be written, a
    warning says so and there is no cache.

    Raises:
        ConfigError: a folder named by the user that cannot be used.
    """
    if directory is None:
        return None
    root = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "easydel" if directory == AUTO else Path(directory)
    folder = root.expanduser() / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(stat.S_IRWXU)  # refused to all but its owner
        if not os.access(folder, os.W_OK):
            raise PermissionError(None, "it may not be written to")
    except OSError as error:
        reason = f"the cache folder {folder} cannot be used: {error.strerror or error}."
        hint = "Set cache_directory to a folder of your own, or to none."
        if directory != AUTO:
            raise ConfigError(f"{reason} {hint}") from error
        warn(f"{reason} Nothing is kept for the next run. {hint}")
        return None
    return folder


def content_key(parts: Iterable[bytes]) -> str:
    """Returns 32 hex digits that tell one sequence of byte strings from another.

    >>> content_key([b"ab", b"c"]) == content_key([b"a", b"bc"])
    False
    """
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.hexdigest()[:32]


def write_arrays(path: Path, key: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes arrays under names of their own to one file, which appears whole and only this user may read.

    The same arrays give the same bytes.

    Raises:
        OSError: the disk is full, or the folder may not be written to.
    """
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    contents: dict[str, Any] = {_KEY: np.array(key), _NAMES: np.array(list(arrays), str), **arrays}
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, stat.S_IRUSR | stat.S_IWUSR), "wb") as file:
            np.savez(file, **contents)  # writes no date
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def read_arrays(path: Path, key: str) -> dict[str, np.ndarray] | None:
    """Returns the arrays that `write_arrays` wrote for a key; None where there are none that can be used.

    Warns, in one line, of a file that is cut short, damaged or written for another key.
    """
    if not path.exists():
        return None
    try:
        # Not `np.load`, which leaves a damaged file open.
        with path.open("rb") as file, NpzFile(file) as archive:  # which unpickles nothing
            arrays = dict(archive)
        found, names = str(arrays.pop(_KEY)), arrays.pop(_NAMES).tolist()
        if sorted(names) != sorted(arrays):
            raise ValueError(f"it holds {len(arrays)} of {len(names)} arrays")
    except _UNREADABLE as error:
        reason = f"it is damaged or cut short ({type(error).__name__}: {' '.join(str(error).split())})"
    else:
        if found == key:
            return arrays
        reason = "it was written for other content"
    warn(f"{path} in the cache is not used: {reason}. It is made again.")
    return None
