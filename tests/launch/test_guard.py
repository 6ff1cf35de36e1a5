"""What is left of a launcher that was killed is ended."""

import os
import signal
import subprocess
import sys
import time

from easydel.launch import guard


def test_the_end_of_stdin_ends_the_groups_that_it_names_and_what_they_started():
    family = subprocess.Popen(["sh", "-c", "sleep 600 & echo $!; wait"], stdout=subprocess.PIPE, start_new_session=True)
    assert family.stdout is not None
    child = int(family.stdout.readline())
    gone = subprocess.run(["true"], start_new_session=True, check=True)
    assert gone.returncode == 0
    watching = subprocess.Popen(guard.COMMAND, stdin=subprocess.PIPE)
    assert watching.stdin is not None
    watching.stdin.write(b"%d\n" % family.pid)
    watching.stdin.flush()
    assert family.poll() is None
    watching.stdin.close()
    assert family.wait(60) == -signal.SIGTERM
    assert family.stdout.read() == b""  # which the child held open too
    family.stdout.close()
    assert watching.wait(60) == 0
    assert not runs(child)


def test_a_process_names_itself_before_it_becomes_the_command_with_the_signals_of_one():
    reader, writer = os.pipe()
    ignored = "import signal; print([each.name for each in signal.Signals if signal.getsignal(each) == signal.SIG_IGN])"
    shell = ["sh", "-c", f"echo $$; exec {sys.executable} -c '{ignored}'"]
    told = subprocess.run([*guard.COMMAND, str(writer), *shell], pass_fds=[writer], stdout=subprocess.PIPE, check=True)
    plain = subprocess.run(shell, stdout=subprocess.PIPE, check=True)
    number, signals = told.stdout.splitlines()
    assert os.read(reader, 100) == number + b"\n"
    assert signals == plain.stdout.splitlines()[1]
    os.close(reader)
    os.close(writer)


def test_who_does_not_end_when_asked_is_killed(monkeypatch):
    deaf = subprocess.Popen(
        [sys.executable, "-c", "import signal; signal.signal(15, signal.SIG_IGN); print(flush=True); signal.pause()"],
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert deaf.stdout is not None
    deaf.stdout.readline()
    monkeypatch.setattr(guard, "SECONDS_TO_SAVE", 0.2)
    monkeypatch.setattr("sys.stdin", [f"{deaf.pid}\n"])
    assert guard.main() == 0
    assert deaf.wait(60) == -signal.SIGKILL
    deaf.stdout.close()


def runs(number: int) -> bool:
    """Returns whether a process is there in a few seconds; one that has ended may be waiting to be counted."""
    for _ in range(100):
        try:
            os.kill(number, 0)
        except ProcessLookupError:
            return False
        if "State:\tZ" in open(f"/proc/{number}/status").read():  # noqa: SIM115
            return False
        time.sleep(0.1)
    return True
