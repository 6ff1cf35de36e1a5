"""`easydel-dpo doctor`: what a bug report should say about this machine, and problems with it.

Plain text without secrets, home folder and user name. Each part is collected on its own, so that a broken one does not
hide the rest.
"""

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from textwrap import indent
from typing import NamedTuple

import easydel
from easydel.display.formatting import labeled, size
from easydel.memory import machine_memory

MIN_DISK, MIN_MEMORY = 2_000_000_000, 1_000_000_000
SECONDS_FOR_JAX = 120.0
# Variables that affect a run; a name that ends in _ stands for all that begin with it.
VARIABLES = (
    *("JAX_", "XLA_", "LIBTPU_", "TPU_", "CUDA_VISIBLE_DEVICES", "NCCL_", "TF_GPU_ALLOCATOR", "LD_LIBRARY_PATH"),
    *("HF_", "HUGGINGFACE_", "TRANSFORMERS_", "TOKENIZERS_PARALLELISM", "WANDB_", "TRACKIO_", "XDG_CACHE_HOME"),
    *("GLIBC_TUNABLES", "OMP_NUM_THREADS", "PYTHONPATH", "SLURM_JOB_ID", "SLURM_STEP_NUM_TASKS", "TERM", "NO_COLOR"),
)
_SECRET = ("TOKEN", "KEY", "SECRET", "PASSWORD", "CREDENTIAL", "AUTH", "NETRC")
# In a process of its own: a driver that crashes or hangs must not take the rest of the report with it.
_ASK_JAX = """
import json, jax, jax.extend
devices = [[d.platform, d.device_kind, (d.memory_stats() or {}).get("bytes_limit")] for d in jax.local_devices()]
runtime = " ".join(jax.extend.backend.get_backend().platform_version.split())
print(json.dumps({"backend": jax.default_backend(), "runtime": runtime, "devices": devices}))
"""


class Part(NamedTuple):
    """A part of the report."""

    title: str
    facts: Mapping[str, str]
    problems: Sequence[str] = ()


def main(words: Sequence[str]) -> int:
    """Prints the report; returns the exit status: 0 without problems, 1 with some, 2 for bad usage."""
    if words:
        print(f"error: doctor takes no flags: {' '.join(words)}", file=sys.stderr)
        return 2
    parts = [programs(), memory(), devices(), libraries(), folders(), environment()]
    print("\n\n".join(f"{part.title}\n{indent(labeled(part.facts), '  ')}" for part in parts if part.facts))
    problems = [problem for part in parts for problem in part.problems]
    print("\n" + "\n".join([f"problem: {problem}" for problem in problems] or ["No problems were found."]))
    return 1 if problems else 0


def programs() -> Part:
    """Returns the versions of this program, of Python and of the system."""
    inside = sys.prefix != sys.base_prefix
    facts = {
        "easydel-dpo": easydel.__version__,
        "python": f"{platform.python_version()} ({platform.python_implementation()})"
        + (", in a virtual environment" if inside else ""),
        "system": platform.platform(),
        "processor": f"{platform.machine()}, {os.cpu_count()} cores",
    }
    return Part("Programs", facts)


def memory() -> Part:
    """Returns how much memory is free."""
    free = machine_memory()
    if free is None:
        return Part("Memory", {"free": "unknown"})
    problem = f"only {size(free)} of memory is free: close other programs." if free < MIN_MEMORY else ""
    return Part("Memory", {"free": size(free)}, [problem] if problem else [])


def devices() -> Part:
    """Returns the devices of jax, and whether it overlooks one."""
    try:
        done = subprocess.run([sys.executable, "-c", _ASK_JAX], capture_output=True, text=True, timeout=SECONDS_FOR_JAX)
    except subprocess.TimeoutExpired:
        hint = "a driver or another host may not respond. Try JAX_PLATFORMS=cpu."
        return Part("Devices", {}, [f"jax found no devices in {SECONDS_FOR_JAX:.0f} s: {hint}"])
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        hint = "Check JAX_PLATFORMS and the versions below; reinstalling easydel-dpo fixes versions."
        return Part("Devices", {}, [f"jax does not start: {private(last)} {hint}"])
    found = json.loads(done.stdout.splitlines()[-1])
    facts = {"backend": found["backend"], "runtime": found["runtime"]}
    for at, (_, kind, limit) in enumerate(found["devices"]):
        facts[f"device {at}"] = kind + ("" if limit is None else f", {size(limit)} for arrays")
    return Part("Devices", facts, overlooked(found["backend"], _accelerators(), os.environ.get("JAX_PLATFORMS", "")))


def overlooked(backend: str, accelerators: Sequence[str], platforms: str) -> list[str]:
    """Returns what to do where jax computes on CPU although there is an accelerator.

    >>> overlooked("cpu", ["cuda"], "")
    ["there is an accelerator that jax does not use: `pip install '.[cuda]'` in a checkout of easydel-dpo."]
    >>> overlooked("cpu", ["cuda"], "cpu"), overlooked("gpu", ["cuda"], ""), overlooked("cpu", [], "")
    (['there is an accelerator, but JAX_PLATFORMS=cpu keeps jax from using it.'], [], [])

    Args:
        backend: what jax computes on.
        accelerators: the extras of this package for what the machine has.
        platforms: the value of JAX_PLATFORMS.
    """
    if backend != "cpu" or not accelerators:
        return []
    if platforms:
        return [f"there is an accelerator, but JAX_PLATFORMS={platforms} keeps jax from using it."]
    install = f"`pip install '.[{accelerators[0]}]'` in a checkout of easydel-dpo"
    return [f"there is an accelerator that jax does not use: {install}."]


def _accelerators() -> list[str]:
    signs = {"cuda": ("/dev/nvidia0", "/dev/nvidiactl"), "tpu": ("/dev/accel0", "/dev/vfio/0")}
    return [extra for extra, files in signs.items() if any(Path(file).exists() for file in files)]


def libraries() -> Part:
    """Returns the versions of the dependencies; a missing or unsupported one is a problem."""
    from packaging.requirements import Requirement

    facts, problems = {}, []
    try:
        asked = requires("easydel-dpo") or []
    except PackageNotFoundError:
        return Part(
            "Libraries", {}, ["easydel-dpo is not installed, only its code is found: `pip install .` in its checkout."]
        )
    for text in asked:
        wanted = Requirement(text)
        is_extra = wanted.marker is not None and "extra" in str(wanted.marker)
        try:
            found = version(wanted.name)
        except PackageNotFoundError:
            if not is_extra:
                problems.append(f"{wanted.name} is not installed: `pip install '{wanted.name}{wanted.specifier}'`.")
            continue
        facts[wanted.name] = found
        if found not in wanted.specifier:
            problems.append(
                f"{wanted.name} is {found}, but {wanted.specifier} is required: "
                f"`pip install '{wanted.name}{wanted.specifier}'`."
            )
    return Part("Libraries", facts, problems)


def folders() -> Part:
    """Returns the sizes of the cache folders, and the free space beside them and here."""
    from huggingface_hub.constants import HF_HUB_CACHE

    own = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "easydel"
    kept = {"programs": own / "xla", "token ids": own / "tokens", "reference": own / "reference"}
    facts, problems = {}, []
    for name, folder in {**kept, "hub": Path(HF_HUB_CACHE)}.items():
        facts[name] = f"{private(str(folder))}: {_contents(folder)}"
        if folder.is_dir() and not os.access(folder, os.W_OK):
            problems.append(f"{private(str(folder))} is not writable: change its owner, or remove it.")
    for name, folder in {"space here": Path.cwd(), "space for caches": own}.items():
        existing = next(place for place in (folder, *folder.parents) if place.exists())
        free = shutil.disk_usage(existing).free
        facts[name] = size(free)
        if free < MIN_DISK:
            problems.append(f"only {size(free)} is free on the disk of {private(str(folder))}: delete files.")
    return Part("Folders", facts, list(dict.fromkeys(problems)))


def _contents(folder: Path) -> str:
    if not folder.is_dir():
        return "none yet"
    # The hub's cache holds each file once and links to it.
    sizes = [file.lstat().st_size for file in folder.rglob("*") if file.is_file() and not file.is_symlink()]
    return f"{size(sum(sizes))} in {len(sizes):,} files"


def environment(variables: Mapping[str, str] = os.environ) -> Part:
    """Returns the variables that affect a run; of those that may hold a secret only that they are set."""
    facts = {}
    for name in sorted(variables):
        if any(name == known or (known.endswith("_") and name.startswith(known)) for known in VARIABLES):
            hidden = any(word in name for word in _SECRET) or "@" in variables[name]
            facts[name] = "set, not shown" if hidden else private(variables[name])
    problems = []
    address, count = variables.get("JAX_COORDINATOR_ADDRESS"), variables.get("JAX_NUM_PROCESSES")
    if bool(address) != bool(count):
        problems.append("JAX_COORDINATOR_ADDRESS and JAX_NUM_PROCESSES go together: set both, or neither.")
    return Part("Environment", facts, problems)


def private(text: str) -> str:
    """Returns a text with ~ for the home folder, whose name is often that of its user."""
    home = str(Path.home())
    return text.replace(home, "~") if len(home) > 1 else text
