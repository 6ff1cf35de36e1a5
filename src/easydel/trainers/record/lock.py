"""The lock of a run folder: one process writes there at a time, and any other learns which.

It is a lock of the operating system on `.lock` in the folder, which ends with the process, however that ends, and is
no child's. It is of the kind of POSIX (`fcntl`), as these hold between hosts on NFS, Lustre, GPFS and CephFS alike.
"""

import errno
import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from easydel.errors import ConfigError, warn
from easydel.json_objects import parse_object

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

NAME = ".lock"


class _Held(NamedTuple):
    handle: int  # of the open file; closing any other of the same file would release the lock
    thread: int


_held: dict[Path, _Held] = {}  # the locks of this process, by folder


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keeps all others from writing to a run folder, which is made; the thread that has the lock may take it again.

    Folders that were made are removed if nothing came to lie in them.

    Raises:
        ConfigError: another process, or another thread of this one, writes there.
        OSError: the folder cannot be made, or may not be written to.
    """
    folder = folder.absolute()
    held = _held.get(folder.resolve())
    if held is not None:
        if held.thread != threading.get_ident():
            raise _in_use(folder, "another thread of this process")
        yield
        return
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        _held[folder.resolve()] = _Held(_take(folder), threading.get_ident())
        try:
            yield
        finally:
            _release(_held.pop(folder.resolve()), folder)
    finally:
        with suppress(OSError):
            for each in made:
                each.rmdir()


def move(folder: Path, target: Path) -> None:
    """Moves a run folder whose lock is held, and takes the lock of a new one in its place.

    Raises:
        ConfigError: another process was faster, and has made and locked a folder there.
    """
    held = _held.pop(folder.resolve())
    try:
        folder.rename(target)
        folder.mkdir(exist_ok=True)
        _held[folder.resolve()] = _Held(_take(folder), held.thread)
    finally:
        _release(held, target)


def _take(folder: Path) -> int:
    """Returns the open file that the lock of a folder is held by."""
    file = folder / NAME
    while True:
        handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if fcntl is None:
                raise OSError(errno.ENOSYS, "this system has no POSIX locks")
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                owner = _owner(handle)
                os.close(handle)
                raise _in_use(folder, owner) from None
            warn(
                f"{folder} cannot be locked ({error.strerror}): nothing would keep a second run of this name from "
                "writing there too. See to it that there is none."
            )
            return handle
        if _is_file(handle, file):  # and not one that the run before us has just removed
            with suppress(OSError):  # a disk that is full: the lock holds without
                since = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
                owner = {"host": socket.gethostname(), "pid": os.getpid(), "since": since}
                os.truncate(handle, 0)
                os.write(handle, json.dumps(owner).encode())
                os.fsync(handle)
            return handle
        os.close(handle)


def _release(held: _Held, folder: Path) -> None:
    if _is_file(held.handle, folder / NAME):
        with suppress(OSError):
            (folder / NAME).unlink()
    os.close(held.handle)


def _is_file(handle: int, file: Path) -> bool:
    """Returns whether an open file is the one that has this name now."""
    try:
        return os.path.samestat(os.fstat(handle), file.stat())
    except OSError:
        return False


def _owner(handle: int) -> str:
    try:
        owner = parse_object(os.pread(handle, 4096, 0), NAME, ValueError)
        return f"process {owner['pid']} on {owner['host']}, since {owner['since']}"
    except (OSError, ValueError, KeyError, TypeError):  # it has not said so yet
        return "another process"


def _in_use(folder: Path, owner: str) -> ConfigError:
    return ConfigError(
        f"a run is under way in {folder}: {owner}, writes there. Wait for it, end it, or choose another model_name."
    )
