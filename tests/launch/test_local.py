"""The launcher of several processes on one machine."""

import os
import signal
import subprocess
import sys
import time

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


def test_a_signal_to_the_launcher_goes_to_all():
    work = "import sys, time; from easydel.launch.local import run; sys.exit(run(['sleep', '60'], 2))"
    launcher = subprocess.Popen(
        [sys.executable, "-c", work], env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    )
    time.sleep(2)
    launcher.send_signal(signal.SIGTERM)
    assert launcher.wait(20) == 128 + signal.SIGTERM
