"""The launcher of several processes on one machine."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from easydel.launch import local


def test_what_is_asked_of_the_launcher_is_said(capsys):
    assert local.main(["--repo_id", "x"]) == 2
    assert "usage: python -m easydel.launch.local --processes N" in capsys.readouterr().err


def test_the_launcher_gives_the_status_of_the_first_failure_and_ends_the_others(monkeypatch):
    monkeypatch.setattr(local, "_SECONDS_TO_END", 0.2)
    work = "import os, sys, time; sys.exit(7) if os.environ['JAX_PROCESS_ID'] == '1' else time.sleep(60)"
    begun = time.monotonic()
    assert local.run([sys.executable, "-c", work], 3) == 7
    assert time.monotonic() - begun < 30


# Two processes that say who they are once they run, and end by any signal.
LAUNCHER = """
import signal, sys
from easydel.launch.local import run
signal.signal(signal.SIGINT, signal.default_int_handler)  # which what is started in the background ignores
sys.exit(run(["sh", "-c", "echo $$; exec sleep 600"], 2))
"""


@contextmanager
def launched(*before: str) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """A launcher whose processes run, and their ids."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [*before, sys.executable, "-c", LAUNCHER]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as launcher:
        assert launcher.stdout is not None
        yield launcher, [int(launcher.stdout.readline()) for _ in range(2)]
        # All that it started held its stdout open too.
        assert launcher.stdout.read() == ""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_to_the_launcher_goes_to_all(number):
    with launched() as (launcher, _):
        launcher.send_signal(number)
        assert launcher.wait(60) == 128 + number


def test_a_launcher_that_is_killed_leaves_no_process():
    with launched() as (launcher, _):
        launcher.kill()
        assert launcher.wait(60) == -signal.SIGKILL


LATE = """
import subprocess, time
from easydel.launch import local
start = subprocess.Popen

def late(command, **named):
    process = start(command, **named)
    if "sh" in command:
        time.sleep(600)
    return process

subprocess.Popen = late
local.run(["sh", "-c", "echo $$; exec sleep 600"], 1)
"""


def test_a_launcher_that_is_killed_before_it_knows_of_a_process_leaves_none():
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", LATE], env=environment, stdout=subprocess.PIPE, text=True) as launcher:
        assert launcher.stdout is not None
        member = int(launcher.stdout.readline())
        launcher.kill()
        try:
            said, _ = launcher.communicate(timeout=60)  # it ends with whoever holds it
        except subprocess.TimeoutExpired:
            os.kill(member, signal.SIGKILL)
            raise
    assert said == ""


def test_under_nohup_a_closed_terminal_ends_nothing():
    with launched("sh", "-c", 'trap "" HUP; exec "$@"', "sh") as (launcher, members):
        for number in (launcher.pid, *members):
            os.kill(number, signal.SIGHUP)
        launcher.send_signal(signal.SIGTERM)
        assert launcher.wait(60) == 128 + signal.SIGTERM


def test_what_a_process_started_ends_with_it(monkeypatch):
    monkeypatch.setattr(local, "_SECONDS_TO_END", 0.2)
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    work = "[ $JAX_PROCESS_ID = 1 ] && exit 7; sleep 600 & sleep 600"
    start = subprocess.Popen

    def start_with_writer(*given, pass_fds=(), **named):
        return start(*given, pass_fds=(*pass_fds, writer), **named)

    monkeypatch.setattr(subprocess, "Popen", start_with_writer)
    assert local.run(["sh", "-c", work], 2) == 7
    os.close(writer)
    assert os.read(reader, 1) == b""
    os.close(reader)


COUNTED = """
import os, pathlib, signal, sys
number, statuses = os.environ["JAX_PROCESS_ID"], sys.argv[2].split(",")
file = pathlib.Path(sys.argv[1], number)
starts = len(file.read_text()) if file.exists() else 0
file.write_text("." * (starts + 1))
status = statuses[min(starts, len(statuses) - 1)] if number == "1" else "0"
if status == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
sys.exit(int(status))
"""


@pytest.mark.parametrize(
    ("statuses", "restarts", "status", "starts"),
    [
        ("killed,1,0", 5, 0, 3),  # until all ended well
        ("killed,7", 2, 7, 3),  # as often as allowed
        ("killed", 0, 128 + signal.SIGKILL, 1),
        ("killed,2,0", 5, 2, 2),  # what the user has to put right
        ("killed,75,0", 5, 75, 2),  # who asked for the end gets it
    ],
)
def test_all_start_again_when_one_died_of_what_may_pass(
    monkeypatch, tmp_path, capfd, statuses, restarts, status, starts
):
    monkeypatch.setattr(local, "_MAX_DELAY", 0.0)
    command = [sys.executable, "-c", COUNTED, str(tmp_path), statuses]
    assert local.run(command, 2, restarts=restarts) == status
    assert [len((tmp_path / number).read_text()) for number in "01"] == [starts, starts]
    said = capfd.readouterr().err
    assert "process 1 was ended by signal 9 (Killed): the others end.\n" in said
    assert said.count(": all 2 start again in 0 s (restart ") == starts - 1


def test_a_signal_to_the_launcher_before_a_restart_ends_it(monkeypatch):
    """What waits for minutes before it starts again must not start again once it was told to end."""
    monkeypatch.setattr(local, "_say", lambda text: "start again" in text and signal.raise_signal(signal.SIGTERM))
    assert local.run([sys.executable, "-c", "raise SystemExit(7)"], 1, restarts=3) == 7


def test_the_command_line_adds_what_continues_a_run(monkeypatch):
    ran = []
    monkeypatch.setattr(local, "run", lambda command, count, **named: ran.append((command[3:], count, named)) or 0)
    assert local.main(["--processes", "2", "--restarts", "3", "--repo_id", "x"]) == 0
    assert local.main(["--processes", "2", "--repo_id", "x"]) == 0
    assert ran == [
        (["--repo_id", "x", "--resume", "auto"], 2, {"restarts": 3}),
        (["--repo_id", "x"], 2, {"restarts": 0}),
    ]


@pytest.mark.parametrize("words", [["--processes"], ["--processes", "2", "--restarts", "-1"], ["--restarts", "3"]])
def test_numbers_that_are_none_are_refused(words, capsys):
    assert local.main(words) == 2
    assert "--processes N [--restarts N]" in capsys.readouterr().err


def test_the_error_of_the_user_counts_where_others_have_ended_because_of_it(monkeypatch):
    monkeypatch.setattr(local, "_SECONDS_BETWEEN_LOOKS", 1.0)
    work = "import os, sys; sys.exit(1 + int(os.environ['JAX_PROCESS_ID']))"
    assert local.run([sys.executable, "-c", work], 2) == 2
