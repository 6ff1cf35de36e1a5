"""Writes requirements.lock: what pip resolves for the package and its development tools, for several Pythons.

requirements-docs.lock holds what the pages need besides, which no test does.

    python scripts/lock.py python3.11 python3.12 python3.13

Each line is `name==version`, with a marker where the Pythons differ. No index and no URL is written.
"""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def resolve(python: str, requirements: list[str]) -> dict[str, str]:
    """Returns name -> version of everything that `python -m pip` would install in an empty environment."""
    command = [python, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet", "--report", "-"]
    report = subprocess.run([*command, *requirements], check=True, stdout=subprocess.PIPE, text=True).stdout
    packages = [item["metadata"] for item in json.loads(report)["install"]]
    # A local part such as "+cpu" names the build of one index, not a version.
    return {_canonical(package["name"]): package["version"].split("+")[0] for package in packages}


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def version_of(python: str) -> str:
    """Returns the `3.12` of an interpreter."""
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    return subprocess.run([python, "-c", code], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def lines(resolved: dict[str, dict[str, str]], names: set[str]) -> list[str]:
    """Returns the lock lines of `names`; `resolved` is Python version -> name -> version, oldest first."""
    written = []
    for name in sorted(names):
        runs: list[tuple[str | None, list[str]]] = []  # (version, the consecutive Pythons that take it)
        for python, versions in resolved.items():
            if runs and runs[-1][0] == versions.get(name):
                runs[-1][1].append(python)
            else:
                runs.append((versions.get(name), [python]))
        written += [f"{name}=={version}{_marker(pythons, list(resolved))}" for version, pythons in runs if version]
    return written


def _marker(pythons: list[str], every: list[str]) -> str:
    """Returns the marker of a range of Pythons; the newest of the list stands for later ones too."""
    bounds = []
    if pythons[0] != every[0]:
        bounds.append(f'python_version >= "{pythons[0]}"')
    if pythons[-1] != every[-1]:
        bounds.append(f'python_version < "{every[every.index(pythons[-1]) + 1]}"')
    return " ; " + " and ".join(bounds) if bounds else ""


def main(pythons: list[str]) -> None:
    """Resolves for each interpreter, given oldest first, and writes the lock."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    core = project["project"]["dependencies"]
    dev = project["dependency-groups"]["dev"] + project["build-system"]["requires"]
    docs = project["dependency-groups"]["docs"]
    resolved, core_names, dev_names = {}, set(), set()
    for python in pythons:
        resolved[version_of(python)] = resolve(python, core + dev + docs)
        core_names |= resolve(python, core).keys()
        dev_names |= resolve(python, core + dev).keys()
    every_name = {name for versions in resolved.values() for name in versions}
    text = ["# The package", *lines(resolved, core_names), ""]
    text += ["# Development: tests, checks and the build", *lines(resolved, dev_names - core_names)]
    write("requirements.lock", text)
    write("requirements-docs.lock", ["# The pages", *lines(resolved, every_name - dev_names)])


def write(name: str, text: list[str]) -> None:
    """Writes a lock file."""
    head = ["# Written by scripts/lock.py (`make lock`); not edited by hand.", ""]
    (ROOT / name).write_text("\n".join([*head, *text]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
