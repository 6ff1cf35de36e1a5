"""The examples in the documents give what the documents say."""

import dataclasses
import doctest
import pkgutil
import re
from pathlib import Path

import pytest

import easydel
from easydel.models import families
from easydel.trainers import metrics
from easydel.trainers.config import DPOConfig
from easydel.trainers.metrics import Counted, MetricsWindow
from oracles.cases import FAMILIES

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
SOURCE = Path(easydel.__file__).parent
WITH_EXAMPLES = (
    "adapters.md",
    "checkpoints.md",
    "data.md",
    "losses.md",
    "models.md",
    "scaling.md",
    "terminal.md",
    "trackers.md",
)
FENCE = re.compile(r"^```.*$", re.MULTILINE)  # what ends a block is no part of the output that is expected


def run_examples(path: Path) -> doctest.TestResults:
    """Runs what stands after `>>>` in a document, in one session."""
    text = FENCE.sub("", path.read_text(encoding="utf-8"))
    test = doctest.DocTestParser().get_doctest(text, {"__name__": "__main__"}, path.name, str(path), 0)
    return doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE).run(test)


@pytest.mark.parametrize("path", sorted(DOCS.glob("*.md")), ids=lambda path: path.name)
def test_the_examples_of_a_document_give_what_it_says(path):
    results = run_examples(path)
    assert results.failed == 0
    assert results.attempted > 0 or path.name not in WITH_EXAMPLES


def test_an_example_that_gives_something_else_is_found(tmp_path, capsys):
    page = tmp_path / "page.md"
    page.write_text("# Page\n\n```python\n>>> 1 + 1\n3\n```\n\n```python\n>>> 2\n2\n```\n")
    assert run_examples(page) == (1, 2)


def test_a_new_family_is_shown_in_fewer_than_40_lines():
    section = (DOCS / "models.md").read_text(encoding="utf-8").split("## Adding a family")[1].split("\n## ")[0]
    shown = re.findall(r"^(?:>>>|\.\.\.) .*$", section, re.MULTILINE)
    assert any("FAMILIES[" in line for line in shown)
    assert any("generate(" in line for line in shown)
    assert len(shown) < 40


def test_every_family_has_a_row_in_the_table_of_models_and_a_case_that_is_compared():
    text = (DOCS / "models.md").read_text(encoding="utf-8")
    alone = [name for name, family in families.FAMILIES.items() if family.architecture]  # not inside of a wrapper only
    assert re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE) == alone
    assert set(FAMILIES) == set(alone)


def test_every_metric_of_a_log_is_explained_in_the_table_of_curves():
    table = (DOCS / "curves.md").read_text(encoding="utf-8").split("## What each number is")[1].split("\n## ")[0]
    told = {
        name for line in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for name in re.findall(r"`([^`]+)`", line)
    }
    counted = Counted(steps=1, pairs=1, row_positions=1, num_tokens=1, seconds=1.0)._asdict()
    window = MetricsWindow({"sums": {"skipped": 1.0}, "counted": counted}).metrics(logit_metrics=True, peak_flops=1.0)
    of_the_loop = {"memory", "learning_rate", "epoch", "num_tokens"}
    assert told == {*window, *of_the_loop, *metrics.metric_names(logit_metrics=True, auxiliary=True)}


def test_every_name_of_the_glossary_is_in_the_code():
    text = (DOCS / "glossary.md").read_text(encoding="utf-8")
    rows = [re.split(r" ?\| ?", line.strip("|")) for line in re.findall(r"^\| .*$", text, re.MULTILINE)]
    names = [row[3].strip("` ") for row in rows if row[0].strip() != "word"]
    assert len(names) > 40
    options = {field.name for field in dataclasses.fields(DPOConfig)}
    for name in names:
        if name not in options:
            pkgutil.resolve_name(f"easydel.{name}")  # raises where there is no such name


@pytest.mark.parametrize("page", ["index.md", "design.md"])
def test_the_glossary_is_linked(page):
    assert "](glossary.md)" in (DOCS / page).read_text(encoding="utf-8")


def tree_of(text: str) -> list[str]:
    """Returns the paths in the drawing of a folder: two blanks more are a level further in, a slash ends a folder."""
    folders: list[str] = []
    paths = []
    for indent, name in re.findall(r"^((?:  )+)(\S+)  ", text, re.MULTILINE):
        folders = [*folders[: len(indent) // 2 - 1], name]
        paths.append("".join(folders))
    return paths


def test_the_readme_ends_with_the_tree_of_the_package():
    *_, tree, rest = (ROOT / "README.md").read_text(encoding="utf-8").split("```")
    packages = {path.parent for path in SOURCE.rglob("*.py")} - {SOURCE}
    expected = {f"{path.relative_to(SOURCE).as_posix()}/" for path in packages}
    expected |= {path.name for path in SOURCE.glob("*.py")}
    assert tree.splitlines()[1] == "src/easydel/"
    assert rest == "\n"
    assert sorted(tree_of(tree)) == sorted(expected)


def test_a_drawn_tree_is_read_with_its_folders():
    drawn = "src/\n  a.py   first\n  b/     second\n    c/   third\n  d.py   last\n"
    assert tree_of(drawn) == ["a.py", "b/", "b/c/", "d.py"]


PLACES = (ROOT, SOURCE, ROOT / "tests", ROOT / "src")  # that the names of files are given from


@pytest.mark.parametrize("path", [*sorted(ROOT.glob("*.md")), *sorted(DOCS.glob("*.md"))], ids=lambda path: path.name)
def test_every_module_that_a_page_names_exists(path):
    named = re.findall(r"`((?:[\w-]+/)*\w+\.py)(?=[`: ])", path.read_text(encoding="utf-8"))
    assert [name for name in named if not any((place / name).exists() for place in PLACES)] == []


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: str(path.relative_to(SOURCE)))
def test_every_module_that_a_module_names_exists(path):
    text = path.read_text(encoding="utf-8")
    files = re.findall(r"`((?:\w+/)+\w+\.py)`", text)
    assert [name for name in files if not any((place / name).exists() for place in PLACES)] == []
    for name in re.findall(r"`(easydel(?:\.\w+)+)", text):
        pkgutil.resolve_name(name)
