"""Large memory pages for a process that is about to start over.

On CPU XLA asks for working memory anew at every step, and the kernel hands it out in pages of 4 KiB, one fault each.
Glibc asks for pages of 2 MiB instead when it is told to before the process lays out its memory.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

_KERNEL = Path("/sys/kernel/mm/transparent_hugepage/enabled")
_SETTING = "glibc.malloc.hugetlb"


def start_over() -> None:
    """Replaces this process by one with the same command line and large pages, where that would change anything."""
    try:
        kernel = _KERNEL.read_text()
    except OSError:  # there are none, or a container does not say
        return
    environment = with_huge_pages(os.environ, kernel)
    if environment is not None and sys.platform == "linux":
        os.execve(sys.executable, sys.orig_argv, environment)


def with_huge_pages(environment: Mapping[str, str], kernel: str) -> dict[str, str] | None:
    """Returns the environment to start with; None where it is set already or the kernel has no such pages.

    >>> with_huge_pages({}, "always [madvise] never")
    {'GLIBC_TUNABLES': 'glibc.malloc.hugetlb=1'}
    >>> with_huge_pages({}, "always madvise [never]")

    Args:
        kernel: what the kernel says of its transparent huge pages.
    """
    tunables = environment.get("GLIBC_TUNABLES", "")
    if _SETTING in tunables or not ("[always]" in kernel or "[madvise]" in kernel):
        return None
    return {**environment, "GLIBC_TUNABLES": ":".join(filter(None, (tunables, f"{_SETTING}=1")))}
