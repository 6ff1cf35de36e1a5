"""Huge memory pages: the process is restarted with them.

On CPU XLA allocates working memory at every step, and the kernel hands it out in pages of 4 KiB, one fault each. glibc
asks for pages of 2 MiB instead where an environment variable says so when the process starts.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

_KERNEL = Path("/sys/kernel/mm/transparent_hugepage/enabled")
_SETTING = "glibc.malloc.hugetlb"


def start_over() -> None:
    """Replaces this process by one with the same command line and huge pages, where that makes a difference."""
    try:
        kernel = _KERNEL.read_text()
    except OSError:  # no such pages, or a container that hides the setting
        return
    environment = with_huge_pages(os.environ, kernel)
    if environment is not None and sys.platform == "linux":
        os.execve(sys.executable, sys.orig_argv, environment)


def with_huge_pages(environment: Mapping[str, str], kernel: str) -> dict[str, str] | None:
    """Returns the environment with huge pages; None where it is set already or the kernel has none.

    >>> with_huge_pages({}, "always [madvise] never")
    {'GLIBC_TUNABLES': 'glibc.malloc.hugetlb=1'}
    >>> with_huge_pages({}, "always madvise [never]")

    Args:
        kernel: the content of the kernel's `transparent_hugepage/enabled`.
    """
    tunables = environment.get("GLIBC_TUNABLES", "")
    if _SETTING in tunables or not ("[always]" in kernel or "[madvise]" in kernel):
        return None
    return {**environment, "GLIBC_TUNABLES": ":".join(filter(None, (tunables, f"{_SETTING}=1")))}
