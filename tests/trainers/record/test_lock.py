"""A run folder has one writer at a time; the lock ends with the process that holds it."""

import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from easydel.errors import ConfigError
from easydel.scripts.finetune import dpo
from easydel.trainers.record import lock
from easydel.trainers.record.lock import NAME, locked, move

HOLDER = """
import sys
from pathlib import Path
from easydel.trainers.record.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def held_by_another(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", HOLDER, str(folder)]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        yield process


def test_a_second_process_is_told_who_writes_and_changes_nothing(tmp_path):
    folder = tmp_path / "runs" / "dpo"
    with held_by_another(folder) as process:
        for _ in range(2):
            with pytest.raises(
                ConfigError, match=rf"under way in .*dpo: process {process.pid} on .+, since 2.* writes"
            ):
                locked(folder).__enter__()
        assert [file.name for file in folder.iterdir()] == [NAME]
    with locked(folder):
        pass
    assert not (tmp_path / "runs").exists() or not list((tmp_path / "runs").iterdir())


def test_a_second_run_is_refused_before_it_reads_anything(tmp_path, capsys):
    words = ["--save_directory", str(tmp_path), "--repo_id", "no/where", "--dataset_name", str(tmp_path / "none.jsonl")]
    with held_by_another(tmp_path / "dpo") as process:
        assert dpo.main(words) == 2
        (complaint,) = capsys.readouterr().err.splitlines()
    assert complaint.startswith("error: a run is under way in ")
    assert f"process {process.pid} on " in complaint


def test_a_lock_ends_with_a_process_that_is_killed(tmp_path):
    with held_by_another(tmp_path / "dpo") as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert (tmp_path / "dpo" / NAME).exists()
        with locked(tmp_path / "dpo"):
            pass


def test_what_was_made_for_a_run_that_wrote_nothing_is_removed(tmp_path):
    with locked(tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b" / NAME).exists()
    assert list(tmp_path.iterdir()) == []
    with locked(tmp_path / "a"):
        (tmp_path / "a" / "note").write_text("")
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["note"]


def test_the_thread_that_has_a_lock_may_take_it_again_and_no_other(tmp_path):
    refused: list[str] = []

    def try_it() -> None:
        try:
            locked(tmp_path / "a").__enter__()
        except ConfigError as error:
            refused.append(str(error))

    (tmp_path / "link").symlink_to(tmp_path)
    with locked(tmp_path / "a"), locked(tmp_path / "link" / "a"):
        thread = threading.Thread(target=try_it)
        thread.start()
        thread.join()
    assert ["another thread of this process, writes there" in words for words in refused] == [True]


def test_a_folder_that_is_moved_aside_leaves_the_lock_in_its_place(tmp_path):
    folder = tmp_path / "dpo"
    with locked(folder):
        (folder / "note").write_text("")
        move(folder, tmp_path / "dpo.1")
        assert [path.name for path in (tmp_path / "dpo.1").iterdir()] == ["note"]
        assert [path.name for path in folder.iterdir()] == [NAME]
        (folder / "note").write_text("")
        assert second(folder) == 1
    assert second(folder) == 0


def second(folder: Path) -> int:
    """Returns the exit status of another process that takes the lock."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", HOLDER, str(folder)]
    return subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True).returncode


def test_a_child_keeps_no_lock_alive(tmp_path):
    code = (
        "import os, sys, time\nfrom pathlib import Path\nfrom easydel.trainers.record.lock import locked\n"
        "held = locked(Path(sys.argv[1]))\nheld.__enter__()\n"
        "if os.fork() == 0:\n    sys.stdin.read()\n    os._exit(0)\nprint('forked', flush=True)\nos._exit(0)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", code, str(tmp_path / "dpo")]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"forked\n"
        process.wait()
        with locked(tmp_path / "dpo"):  # the child still reads
            pass


def test_a_disk_without_locks_is_a_warning(tmp_path, monkeypatch):
    def refuse(handle: int, kind: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(lock.fcntl, "lockf", refuse)
    with pytest.warns(UserWarning, match=r"cannot be locked \(No locks available\): nothing would keep"):
        entered(locked(tmp_path / "dpo"))


def entered(lock: AbstractContextManager[None]) -> None:
    with lock:
        pass
