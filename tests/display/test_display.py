"""What a run says, as a terminal, a pipe and a program see it, each in a process of its own."""

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios

import pytest

from easydel.display.display import SILENT, make_display
from easydel.errors import ConfigError

SAYS = """
import sys, time
from easydel.display.display import make_display
display = make_display(sys.argv[1])
display.event("start", {"run": "mine"}, "the run [mine] is 100% ready")
with display.work("mine", unit="steps", total=2, stays=True) as work:
    for step in (1, 2):
        work.advance()
        display.figures("log", {"step": step}, f"step {step}", work=work, beside=f"loss 0.{step}")
        with display.work("evaluate", unit="batches", total=4) as evaluated:
            for _ in range(4):
                time.sleep(0.15)
                evaluated.advance()
        display.say("looked at")
    display.warn("warning", "it is late")
"""
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")


ABROAD = """
import sys
from easydel.display.display import make_display
display = make_display(sys.argv[1])
with display.work("mine", unit="steps", total=1, stays=True) as work:
    work.advance()
    display.event("samples", {"answer": "日本"}, "日本")
    display.warn("warning", "日本")
"""


def on_a_terminal(kind: str, *, size: tuple[int, int] = (30, 80), script: str = SAYS, **environment: str) -> str:
    """Returns what a terminal of that many lines and columns is sent."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
    command = [sys.executable, "-c", script, kind]
    variables = {**os.environ, "TERM": "xterm", "COLUMNS": "", "LINES": "", **environment}
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=variables) as said:
        os.close(theirs)
        sent = b""
        try:
            while part := os.read(ours, 65536):
                sent += part
        except OSError:  # Linux says so that the other end is gone
            pass
    os.close(ours)
    assert said.returncode == 0, sent
    return sent.decode()


def in_a_pipe(kind: str) -> tuple[str, str]:
    """Returns what stdout and stderr get where neither is a terminal."""
    done = subprocess.run([sys.executable, "-c", SAYS, kind], check=True, capture_output=True, text=True)
    return done.stdout, done.stderr


@pytest.mark.parametrize("kind", ["tqdm", "rich"])
def test_a_terminal_shows_bars_with_their_figures_and_text_between_them(kind):
    shown = on_a_terminal(kind)
    assert CONTROL.search(shown)
    plain = CONTROL.sub("\n", shown)
    lines = [line.rstrip() for line in plain.splitlines() if line.strip()]
    assert lines[0] == "the run [mine] is 100% ready"
    assert lines.count("looked at") == 2
    assert "warning: it is late" in lines
    assert any("evaluate" in line for line in lines)
    assert "step 1" not in plain  # its figures stand beside the bar
    assert "loss 0.1" in plain
    assert "mine" in lines[-1] or "loss 0.2" in lines[-1]  # it stays
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize("kind", ["tqdm", "rich"])
def test_a_terminal_that_cannot_show_a_sign_shows_another(kind):
    assert "??" in on_a_terminal(kind, script=ABROAD, PYTHONIOENCODING="ascii:strict")


@pytest.mark.parametrize("kind", ["tqdm", "json"])
def test_a_pipe_that_cannot_take_a_sign_ends_nothing(kind):
    environment = {**os.environ, "PYTHONIOENCODING": "ascii:strict"}
    command = [sys.executable, "-c", ABROAD, kind]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    if kind == "json":
        assert [each["answer"] for line in done.stdout.splitlines() if "answer" in (each := json.loads(line))] == [
            "日本"
        ]
    else:
        assert "??" in done.stdout


MARKED = r"""
import sys
from easydel.display.display import make_display
from easydel.display.pairs import on_one_line, completion_pieces
def segment(kind, text, special=False):
    return {"kind": kind, "tokens": 1, "text": text, "special": special}
evil = "\x1b[2J[bold]\r\ud800\u202e"
side = [segment("trained", evil), segment("untrained", "user"), segment("trained", "</s>", True)]
marked = on_one_line(completion_pieces(side))
make_display(sys.argv[1]).event("start", {"side": side}, "".join(piece.text for piece in marked), marked)
"""


@pytest.mark.parametrize("kind", ["tqdm", "rich"])
def test_marked_text_is_the_same_with_and_without_colors_and_what_it_holds_is_not_obeyed(kind):
    shown = on_a_terminal(kind, script=MARKED)
    assert CONTROL.sub("", shown).strip() == r"|\x1b[2J[bold]\r\ud800\u202e[no loss: user]«</s>»"
    assert ("\x1b[36m«</s>»" in shown) == (kind == "rich")
    assert "\x1b[2J" not in shown
    assert "\u202e" not in shown
    assert "\x1b[36m" not in on_a_terminal(kind, script=MARKED, NO_COLOR="1")


def test_a_terminal_that_does_not_know_its_size_shows_bars_too():
    assert "loss 0.2" in on_a_terminal("tqdm", size=(0, 0))


@pytest.mark.parametrize("kind", ["tqdm", "rich"])
def test_a_terminal_that_cannot_draw_gets_lines(kind):
    shown = on_a_terminal(kind, TERM="dumb")
    assert not CONTROL.search(shown.replace("\r\n", "\n"))
    assert "step 1" in shown


@pytest.mark.parametrize("kind", ["tqdm", "rich"])
def test_a_pipe_gets_lines_without_a_control_character(kind):
    expected = "the run [mine] is 100% ready\nstep 1\nlooked at\nstep 2\nlooked at\n"
    assert in_a_pipe(kind) == (expected, "warning: it is late\n")


def test_a_program_gets_one_object_a_line_and_nothing_else():
    out, err = in_a_pipe("json")
    events = [json.loads(line) for line in out.splitlines()]
    assert [event["event"] for event in events if event["event"] != "work"] == [
        *("start", "log", "message", "log", "message", "warning")
    ]
    assert {tuple(event)[:2] for event in events} == {("event", "time")}
    states = [(event["work"], event["state"]) for event in events if event["event"] == "work"]
    assert states[0] == ("mine", "begun")
    assert states[-1] == ("mine", "done")
    assert states.count(("evaluate", "begun")) == states.count(("evaluate", "done")) == 2
    last = events[-1]
    assert (last["done"], last["total"], last["unit"], last["seconds_left"]) == (2, 2, "steps", 0.0)
    assert err == "warning: it is late\n"


def test_a_quiet_run_shows_warnings_only():
    assert in_a_pipe("none") == ("", "warning: it is late\n")


def test_a_kind_that_there_is_not_is_an_error_with_the_nearest_one():
    with pytest.raises(ConfigError, match=r"progress_bar_type = 'tdqm' is not one of .*\. Did you mean 'tqdm'\?"):
        make_display("tdqm")


def test_a_display_for_nobody_says_nothing(capsys):
    SILENT.event("start", {}, "text")
    with SILENT.work("load", unit="B") as work:
        work.advance(3)
        work.tick()
    assert capsys.readouterr() == ("", "")
