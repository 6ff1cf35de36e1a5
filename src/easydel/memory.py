"""How much memory there is and how much a run needs: arithmetic done before anything is loaded or compiled."""

import ctypes
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from easydel import processes
from easydel.errors import ConfigError

_GIB = 1024**3


def available_bytes(devices: Sequence[Any]) -> int | None:
    """Returns the bytes that arrays on these devices may take together, or None where it is unknown.

    CPU devices share the memory of the machine: what the kernel says is available, within the limit of the container.
    """
    if devices[0].platform == "cpu":
        return machine_memory()
    here = processes.local(devices)
    stats = [device.memory_stats() for device in here]
    known = [s for s in stats if s and "bytes_limit" in s]  # which numbers there are depends on the allocator
    if len(known) < len(stats):
        return None
    # The devices of other processes are taken to be as these are.
    return sum(s["bytes_limit"] - s.get("bytes_in_use", 0) for s in known) * len(devices) // len(here)


def machine_memory() -> int | None:
    """Returns the bytes of the machine's memory that are available, within the limit of the container, or None."""
    limits = [_meminfo(Path("/proc/meminfo")), *map(_container_room, _CONTAINER_FILES)]
    return min((limit for limit in limits if limit is not None), default=None)


def require(needs: Mapping[str, int], available: int | None, *, hint: str) -> None:
    """Checks that the needs fit in memory.

    Args:
        needs: bytes by purpose.
        available: bytes; None never fails.
        hint: what the user can change, the last sentence of the message.

    >>> require({"weights": 3 * 1024**3, "optimizer": 6 * 1024**3}, 8 * 1024**3, hint="Wait.")
    Traceback (most recent call last):
    easydel.errors.ConfigError: not enough memory: 9.0 GiB needed (weights 3.0, optimizer 6.0), 8.0 GiB available. Wait.

    Raises:
        ConfigError: they do not fit.
    """
    total = sum(needs.values())
    if available is not None and total > available:
        raise ConfigError(
            f"not enough memory: {total / _GIB:.1f} GiB needed ({_in_words(needs, _GIB)}), "
            f"{available / _GIB:.1f} GiB available. {hint}"
        )


def give_back_freed() -> None:
    """Hands freed memory back to the system where the C library keeps it: a compiler leaves half a gigabyte behind."""
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


def in_one_line(needs: Mapping[str, int], available: int | None) -> str:
    """Returns what is needed together and for what, and of how much; in MiB where it is less than a GiB.

    >>> in_one_line({"weights": 3 * 1024**3, "optimizer": 6 * 1024**3}, 16 * 1024**3)
    'at least 9.0 of 16.0 GiB (weights 3.0, optimizer 6.0)'
    >>> in_one_line({"weights": 3 * 1024**2}, None)
    'at least 3.0 MiB (weights 3.0)'
    """
    total = sum(needs.values())
    unit, size = ("GiB", _GIB) if total >= _GIB else ("MiB", 1024**2)
    known = "" if available is None else f" of {available / size:,.1f}"
    return f"at least {total / size:,.1f}{known} {unit} ({_in_words(needs, size)})"


def _in_words(needs: Mapping[str, int], unit: int) -> str:
    return ", ".join(f"{name} {size / unit:,.1f}" for name, size in needs.items())


# Limit and use of a container's memory, for both versions of control groups.
_CONTAINER_FILES = (
    (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")),
    (Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"), Path("/sys/fs/cgroup/memory/memory.usage_in_bytes")),
)
# What files that were read still occupy: the kernel gives it back when it is needed.
_CACHED = ("active_file", "inactive_file")


def _meminfo(file: Path) -> int | None:
    if not file.exists():  # not Linux
        return None
    lines = dict(line.split(":", 1) for line in file.read_text(encoding="ascii").splitlines() if ":" in line)
    return int(lines["MemAvailable"].split()[0]) * 1024 if "MemAvailable" in lines else None


def _container_room(files: tuple[Path, Path]) -> int | None:
    limit, used = files
    if not limit.exists() or not used.exists():
        return None
    text = limit.read_text(encoding="ascii").strip()
    if text == "max":
        return None
    stat = used.with_name("memory.stat")
    lines = stat.read_text(encoding="ascii").splitlines() if stat.exists() else []
    cached = sum(int(size) for name, size in map(str.split, lines) if name in _CACHED)
    return max(int(text) - int(used.read_text(encoding="ascii")) + cached, 0)
