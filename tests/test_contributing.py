"""What CONTRIBUTING.md says to do works: its diffs fit the code, touch two files at most, and do what they are for."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from oracles.diffs import ROOT, Change, Hunk, apply, diffs_of

PAGE = ROOT / "CONTRIBUTING.md"
DIFFS = diffs_of(PAGE)

# Three calls of a run, and what the options say of the new name.
FOLLOWED = """
import json, sys
from pathlib import Path
from easydel.trainers.config import DPOConfig
from easydel.trainers.record.tracker import About
from easydel.trainers.record.trackers import Trackers

trackers = Trackers(DPOConfig(report_to="csv").trackers, About(Path(sys.argv[1]), "mine", {}))
trackers.log(1, {"loss": 0.5, "margin": float("nan")})
trackers.samples(1, [{"prompt": "a", "answer": "b"}])
trackers.log(2, {"loss": 0.25})
trackers.finish(failed=False)
print(json.dumps([name for name in sys.modules if name.partition(".")[0] in ("jax", "wandb")]))
"""


@pytest.fixture
def copy(tmp_path):
    """The package in a folder of its own, without the model that comes with it."""
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("model", "__pycache__"))
    return tmp_path


@pytest.mark.parametrize("section", DIFFS)
def test_a_diff_fits_the_code_and_touches_at_most_two_files(section, copy):
    assert 1 <= len(DIFFS[section]) <= 2
    apply(DIFFS[section], copy)
    for change in DIFFS[section]:
        compile((copy / change.path).read_text(encoding="utf-8"), change.path, "exec")


def test_the_tracker_of_the_diff_records_a_run(copy, tmp_path):
    apply(DIFFS["A new tracker"], copy)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", FOLLOWED, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(copy / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == []
    with (tmp_path / "metrics.csv").open(newline="", encoding="utf-8") as file:
        assert list(csv.reader(file)) == [["step", "metric", "value"], ["1", "loss", "0.5"], ["2", "loss", "0.25"]]


def test_a_hunk_whose_lines_are_gone_is_an_error(tmp_path):
    (tmp_path / "a.py").write_text("x = 1\ny = 2\n")
    apply([Change("a.py", [Hunk("x = 1\n", "x = 3\n")])], tmp_path)
    assert (tmp_path / "a.py").read_text() == "x = 3\ny = 2\n"
    with pytest.raises(ValueError, match=r"a\.py has 0 times"):
        apply([Change("a.py", [Hunk("x = 1\n", "x = 3\n")])], tmp_path)


def test_a_diff_is_read_with_its_files_hunks_and_new_files(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "# One\n\n```diff\n--- a/x.py\n+++ b/x.py\n@@\n a\n-b\n+c\n@@ def f():\n+d\n"
        "--- /dev/null\n+++ b/y.py\n@@\n+e\n+\n+f\n```\n\n# Two\n\ntext\n"
    )
    assert diffs_of(page) == {
        "One": [Change("x.py", [Hunk("a\nb\n", "a\nc\n"), Hunk("", "d\n")]), Change("y.py", [Hunk("", "e\n\nf\n")])]
    }


def test_every_file_and_command_that_is_named_exists():
    text = re.sub(r"^```.*?^```$", "", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    paths = re.findall(r"`((?:src|docs|tests|scripts|\.ci)/[\w/.-]+)`", text)
    assert len(paths) > 10
    assert [path for path in paths if not Path(ROOT, path).exists()] == []
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.findall(r"`make (\w+)", text)
    assert [target for target in targets if not re.search(rf"^{target}:", makefile, re.MULTILINE)] == []
