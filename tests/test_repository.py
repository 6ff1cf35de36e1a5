"""What holds for every file of the repository, whatever is in it."""

import ast
import itertools
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

pytestmark = pytest.mark.quick

ROOT = Path(__file__).resolve().parents[1]
CONFLICT = re.compile(rb"^(?:<{7} |={7}$|>{7} )", re.MULTILINE)


def tracked() -> list[Path]:
    """The files that git knows of; skips where the tests run without a checkout."""
    try:
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True).stdout
    except (FileNotFoundError, subprocess.CalledProcessError):
        pytest.skip("there is no git, or no checkout")
    return [ROOT / name for name in listed.decode().split("\0") if name]


def test_no_file_holds_what_a_merge_left_unresolved():
    files = [path for path in tracked() if path.is_file()]
    assert ROOT / "README.md" in files
    assert [path for path in files if CONFLICT.search(path.read_bytes().replace(b"\r\n", b"\n"))] == []


@pytest.mark.parametrize("line", [b"<<<<<<< HEAD", b"=======", b">>>>>>> main"])
def test_a_mark_of_a_merge_is_found(line):
    assert CONFLICT.search(b"before\n" + line + b"\nafter\n")
    assert not CONFLICT.search(b"before " + line + b"\n")


# Modules without code to test: a protocol that a type checker reads, and a table of names.
UNTESTED = {"data/tokenizer.py", "trainers/options/trackers.py"}


def test_every_module_has_its_test_file():
    source, tests = ROOT / "src" / "easydel", ROOT / "tests"
    modules = {str(path.relative_to(source)) for path in source.rglob("*.py") if path.name != "__init__.py"}
    assert modules >= UNTESTED
    mirrored = {name: (tests / name).with_name(f"test_{Path(name).name}") for name in modules - UNTESTED}
    missing = sorted(name for name, test in mirrored.items() if not test.exists())
    assert not missing, f"no test file of the same name has {', '.join(missing)}"


# The distributions of modules whose names are others.
DISTRIBUTIONS = {"yaml": "pyyaml", "orbax": "orbax-checkpoint", "sklearn": "scikit-learn"}
# What is run, or named in settings, in place of being imported: where, and by which words.
RUN = {
    "ruff": ("Makefile", "ruff check"),
    "basedpyright": ("Makefile", "basedpyright --pythonpath"),
    "pytest-xdist": ("Makefile", "--numprocesses"),
    "hatchling": ("pyproject.toml", 'build-backend = "hatchling.build"'),
    "furo": ("docs/conf.py", '"furo"'),
    "myst-parser": ("docs/conf.py", '"myst_parser"'),
}
# What is installed into environments of its own, at the versions written there.
APART = {"torch": "Makefile", "peft": "Makefile", "trl": "benchmarks/environments.py"}


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def imported(folder: str) -> set[str]:
    """Returns the distributions that the Python files below a folder import, those of Python and ours left out."""
    found = set()
    for path in (ROOT / folder).rglob("*.py"):
        if any(part.startswith(".") for part in path.relative_to(ROOT).parts):  # environments of the benchmarks
            continue
        near = {other.stem for root in (path.parent, ROOT / "tests", ROOT / "scripts") for other in root.iterdir()}
        ours = set() if folder == "src" else near
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [name.name for name in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            found |= {name.split(".")[0] for name in names} - ours
    found -= {"easydel", "benchmarks", *sys.stdlib_module_names}
    return {canonical(DISTRIBUTIONS.get(name, name)) for name in found}


def names_of(requirements: Iterable[str]) -> set[str]:
    return {canonical(Requirement(text).name) for text in requirements}


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_what_the_package_declares_is_what_it_imports():
    declared = project()["project"]
    needed, extras = names_of(declared["dependencies"]), declared["optional-dependencies"].values()
    assert needed | names_of(itertools.chain(*extras)) == imported("src")


def test_what_development_declares_is_what_tests_scripts_and_pages_import_or_run():
    groups = project()["dependency-groups"]
    declared = names_of(itertools.chain(*groups.values()))
    wanted = set().union(*map(imported, ("tests", "benchmarks", "scripts", "examples", "docs")))
    beyond = wanted - imported("src")
    assert beyond - APART.keys() == declared - RUN.keys()
    assert declared >= RUN.keys()
    for name, (file, words) in RUN.items():
        assert words in (ROOT / file).read_text(encoding="utf-8"), name
    for name, file in APART.items():
        assert f"{name}==" in (ROOT / file).read_text(encoding="utf-8"), name
    assert set(project()["build-system"]["requires"]) <= set(groups["dev"])


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-docs.lock"])
def test_a_lock_names_versions_and_no_index(name):
    lines = [line for line in (ROOT / name).read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    assert [line for line in lines if not re.fullmatch(r"[a-z0-9-]+==[\w.]+( ; [\w'.<>=!* ()]+)?", line)] == []
    locked: dict[str, list[Requirement]] = {}
    for requirement in map(Requirement, lines):
        locked.setdefault(requirement.name, []).append(requirement)
    groups = project()["dependency-groups"]
    asked = groups["docs"] if "docs" in name else project()["project"]["dependencies"] + groups["dev"]
    for text in asked:
        wanted = Requirement(text)
        versions = [str(each.specifier).removeprefix("==") for each in locked[canonical(wanted.name)]]
        assert all(version in wanted.specifier for version in versions), text
