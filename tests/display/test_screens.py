"""What plain lines and JSON lines print."""

import json
import re
from pathlib import Path

import pytest

from easydel.display import screens
from easydel.display.display import make_display


def test_work_that_takes_long_says_so_in_a_log_file_every_now_and_then(monkeypatch, capsys):
    monkeypatch.setattr(screens, "SECONDS_BETWEEN_LINES", 0.0)
    with make_display("tqdm").work("tokenize", unit="rows", total=4) as work:
        work.advance(1)
        work.advance(3)
    lines = re.sub(r"[0-9.]+ s", "T", capsys.readouterr().out).splitlines()
    assert lines == [*("tokenize: 1 of 4 rows, T left", "tokenize: 4 of 4 rows, T left", "tokenize: 4 of 4 rows in T")]


def test_work_that_failed_does_not_say_that_it_is_done(monkeypatch, capsys):
    monkeypatch.setattr(screens, "SECONDS_BETWEEN_LINES", 0.0)
    with pytest.raises(KeyError), make_display("json").work("load", unit="B", total=4):
        raise KeyError
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["state"] == "failed"


def test_a_number_that_is_not_finite_is_null_for_a_program():
    values = {"a": float("nan"), "b": [float("inf"), 1], "c": {"d": 0.5}}
    assert screens.plain(values) == {"a": None, "b": [None, 1], "c": {"d": 0.5}}


def test_a_path_is_a_string_and_a_key_too_for_a_program():
    assert screens.plain({1: Path("a") / "b", "c": (1, None)}) == {"1": "a/b", "c": [1, None]}


def test_short_work_prints_no_line_in_a_log_file(capsys):
    with make_display("tqdm").work("tokenize", unit="rows", total=4) as work:
        work.advance(4)
    assert capsys.readouterr().out == ""
