"""The way from a row to an update is short, is what docs/design.md lists, and is what `DPOTrainer` computes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from easydel.data.pack import pack
from easydel.data.pair import Limits, Pair, truncate
from oracles.quick import QUICK

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))  # newcomer_way imports one_update, which lies beside it

import newcomer_way as way  # noqa: E402


@pytest.fixture(scope="module")
def found():
    """What the script measures, in a process in which nothing has been compiled or imported before."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "newcomer_way.py"), "--json"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "XLA_FLAGS": QUICK},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_a_newcomer_reads_few_files_from_a_row_to_an_update(found):
    assert len(found["way"]) <= way.FILES
    assert sum(found["way"].values()) <= way.LINES


@pytest.mark.slow
def test_the_update_that_is_written_out_is_that_of_the_trainer_bit_for_bit(found):
    assert found["equal"] is True


@pytest.mark.slow
def test_the_design_lists_the_files_of_the_way_as_they_are(found):
    page = way.PAGE.read_text(encoding="utf-8")
    assert page == way.replaced(page, way.written(found)), "stale: run `python scripts/newcomer_way.py`"


@pytest.mark.slow
def test_a_file_is_on_the_way_beside_it_or_of_a_run_alone_and_exists(found):
    way_, beside, run = (set(found[title]) for title in ("way", "beside", "run"))
    assert not way_ & beside
    assert not way_ & run
    assert {name for name, _ in way.STATIONS} <= way_
    assert all((way.SOURCE / name).is_file() for name in (way_ - {way.SCRIPT}) | beside | run)


def test_a_station_that_is_not_reached_is_an_error():
    with pytest.raises(RuntimeError, match=r"not reached: .*sigmoid_loss"):
        way.follow(lambda: None)


def test_only_what_calls_a_station_is_on_the_way():
    pair = Pair([1], [2], [3])
    _, followed = way.follow(lambda: (truncate(pair, Limits(4)), pack([pair])), [("data/batch_layout.py", "place")])
    assert followed.way == ["data/pack.py", "data/shapes.py", "data/batch_layout.py"]
    assert "data/pair.py" in followed.others


def test_the_tables_go_between_their_marks_and_nowhere_else():
    page = f"before\n\n{way.BEGIN}\n\nold\n\n{way.END}\n\nbehind\n"
    assert way.replaced(page, "new") == page.replace("old", "new")
