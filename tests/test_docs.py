"""The examples in the documents give what the documents say."""

import doctest
import re
from pathlib import Path

import pytest

from easydel.models import families
from easydel.trainers import metrics
from easydel.trainers.metrics import Counted, Window
from oracles.cases import FAMILIES

DOCS = Path(__file__).resolve().parents[1] / "docs"
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
    assert re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE) == list(families.FAMILIES)
    assert set(FAMILIES) == set(families.FAMILIES)


def test_every_metric_of_a_log_is_explained_in_the_table_of_curves():
    table = (DOCS / "curves.md").read_text(encoding="utf-8").split("## What each number is")[1].split("\n## ")[0]
    told = {
        name for line in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for name in re.findall(r"`([^`]+)`", line)
    }
    counted = Counted(steps=1, pairs=1, row_positions=1, num_tokens=1, seconds=1.0)._asdict()
    window = Window({"sums": {"skipped": 1.0}, "counted": counted}).metrics(logit_metrics=True, peak_flops=1.0)
    of_the_loop = {"memory", "learning_rate", "epoch", "num_tokens"}
    assert told == {*window, *of_the_loop, *metrics.names(logit_metrics=True, auxiliary=True)}
