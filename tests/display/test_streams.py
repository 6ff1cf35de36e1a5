"""stdout and stderr that nobody reads any more cost no process its work, whoever writes to them."""

import os
import pty
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest

from easydel.display.display import make_display
from easydel.display.streams import sparing

# What libraries do, and then what a run is for: after each the stream is dead, and at the end Python flushes it.
TALKATIVE = """
import logging, sys, warnings
from pathlib import Path
from easydel.display.display import make_display
from easydel.display.streams import harden, lost
logging.basicConfig(stream=sys.stdout)
harden()
print("ready", flush=True)
sys.stdin.read()
for _ in range(3):
    print("x" * 10_000)
    print("x", file=sys.stderr, flush=True)
    logging.warning("x")
    warnings.warn("x")
    display = make_display(sys.argv[2])
    display.say("x")
    display.warn("warning", "x")
    with display.work("w", unit="B", total=3, stays=True) as work:
        work.advance()
    sys.stdout.flush()
from rich.console import Console
Console().print("x")
Console(stderr=True).print("x")
print("x")
Path(sys.argv[1]).write_text(" ".join(lost()))
"""


def talk(file: Path, kind: str = "tqdm", *flags: str, **streams: int | None) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, *flags, "-c", TALKATIVE, str(file), kind]
    return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, **streams)


@pytest.mark.parametrize("kind", ["tqdm", "rich", "json", "none"])
def test_a_reader_that_goes_away_ends_nothing(tmp_path, kind):
    process = talk(tmp_path / "done", kind, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.stdout.close()
    process.stdin.close()
    assert process.wait(60) == 0
    assert (tmp_path / "done").read_text().split() == ["stdout", "stderr"]


@pytest.mark.parametrize("kind", ["tqdm", "rich"])
def test_a_terminal_that_closes_ends_nothing(tmp_path, kind):
    terminal, ours = pty.openpty()
    process = talk(tmp_path / "done", kind, stdout=ours, stderr=ours)
    assert process.stdin is not None
    os.close(ours)
    assert os.read(terminal, 5) == b"ready"
    os.close(terminal)
    process.stdin.close()
    assert process.wait(60) == 0
    assert (tmp_path / "done").read_text().split() == ["stdout", "stderr"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a file that is always full")
@pytest.mark.parametrize("flags", [(), ("-u",)])
def test_a_full_disk_under_stdout_is_said_once_on_stderr(tmp_path, flags):
    full = os.open("/dev/full", os.O_WRONLY)
    process = talk(tmp_path / "done", "none", *flags, stdout=full, stderr=subprocess.PIPE)
    os.close(full)
    _, complaints = process.communicate(timeout=60)
    assert process.returncode == 0
    assert complaints.count(b"stdout could not be written to (No space left on device)") == 1
    assert (tmp_path / "done").read_text() == "stdout"


def test_a_process_whose_stdout_was_closed_before_it_began_goes_on(tmp_path):
    code = "from easydel.display.display import make_display; make_display('tqdm').say('x')"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(["sh", "-c", f'"{sys.executable}" -c "{code}" >&-'], env=environment, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")


def test_no_file_gets_the_number_of_a_stream_that_was_closed(tmp_path):
    code = "import os; from easydel.display.streams import harden; harden(); print(os.open('x', os.O_CREAT) > 2)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = ["sh", "-c", f'"{sys.executable}" -c "{code}" <&- 2>&-']
    assert subprocess.run(command, env=environment, cwd=tmp_path, stdout=subprocess.PIPE).stdout == b"True\n"


class Gone(StringIO):
    """A stream of somebody else that nobody reads."""

    def write(self, text: str) -> int:
        raise BrokenPipeError(32, "Broken pipe")


@pytest.mark.parametrize("kind", ["tqdm", "rich", "json", "none"])
def test_streams_of_somebody_else_may_fail_too(monkeypatch, kind):
    for stream in (Gone(), closed()):
        monkeypatch.setattr(sys, "stdout", stream)
        monkeypatch.setattr(sys, "stderr", stream)
        display = make_display(kind)
        with display.work("w", unit="steps", total=2, stays=True) as work:
            work.advance()
            display.event("message", {"text": "x"}, "x")
            display.figures("log", {}, "x", work=work, beside="x")
        display.warn("warning", "x")


def closed() -> StringIO:
    stream = StringIO()
    stream.close()
    return stream


def test_other_errors_are_not_hidden():
    with pytest.raises(ValueError, match="out of range"), sparing():
        raise ValueError("out of range")
