"""What a measurement was made on: the facts without which its figures mean nothing."""

import os
import platform
import re
import subprocess
from pathlib import Path

from benchmarks.environments import HERE


def machine_facts() -> dict[str, str | int | float]:
    """Returns processor, usable cores, memory in GiB and the system; nothing that names the machine."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
    }


def commit() -> str:
    """Returns the commit of this checkout, with `+` when files differ from it; '' outside a repository."""
    answers = []
    for command in (("rev-parse", "--short", "HEAD"), ("status", "--porcelain", "--untracked-files=no")):
        done = subprocess.run(["git", "-C", HERE, *command], capture_output=True, text=True, check=False)
        if done.returncode:
            return ""
        answers.append(done.stdout.strip())
    return answers[0] + ("+" if answers[1] else "")


def _processor() -> str:
    file = Path("/proc/cpuinfo")
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1].strip() if found else platform.processor()
