"""Programs that train in turns: each runs in a process of its own, which is stopped while another has its turn.

So one program has the machine at a time, noise hits all alike, and each runs its own unchanged training loop. A
program reports a step by appending a line to a file; a clock that only runs during its turns tells how long it took.
"""

import dataclasses
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

_POLL_SECONDS = 0.002


class WorkerError(Exception):
    """A program ended before it had trained its steps."""


@dataclasses.dataclass(frozen=True)
class Step:
    """One finished step: its loss, and the time on the program's own clock at its end, in seconds."""

    loss: float
    at: float
    inside: float | None  # seconds by the program's own account


class Worker:
    """A program that trains, one turn at a time; use it as a context manager, which ends it.

    Args:
        name: what it is called in messages.
        command: starts it.
        environment: its environment variables.
        steps: the file to which it appends a JSON object with `loss` after every step.
        output: the file for all that it prints.
    """

    def __init__(
        self, name: str, command: Sequence[str], environment: Mapping[str, str], steps: Path, output: Path
    ) -> None:
        self.name = name
        self.steps: list[Step] = []
        self.peak_memory: int | None = None  # bytes of its process, where the system tells
        self.told_memory: int | None = None  # bytes of its device, where it tells
        self._command, self._environment = list(command), dict(environment)
        self._steps_file, self._output = steps, output
        self._process: subprocess.Popen[bytes] | None = None
        self._seconds = 0.0
        self._read = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def turn(self, until: int) -> None:
        """Lets the program run until it has reported `until` steps in all, and stops it.

        Raises:
            WorkerError: it ended before; the message has the last lines of its output.
        """
        began = time.perf_counter()
        process = self._go_on()
        while len(self.steps) < until:
            ended = process.poll() is not None
            now = self._seconds + time.perf_counter() - began
            for entry in self._new_entries():
                self.steps.append(Step(entry["loss"], now, entry.get("step_time")))
                self.told_memory = entry.get("memory")
            if ended and len(self.steps) < until:
                raise WorkerError(self._how_it_ended(process.returncode))
            time.sleep(_POLL_SECONDS)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGSTOP)
            self.peak_memory = peak_memory(process.pid) or self.peak_memory
        self._seconds += time.perf_counter() - began

    def _go_on(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            self._output.parent.mkdir(parents=True, exist_ok=True)
            with self._output.open("wb") as output:
                self._process = subprocess.Popen(
                    self._command,
                    env=self._environment,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # so that its own children stop and end with it
                )
        elif self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGCONT)
        return self._process

    def _new_entries(self) -> Iterator[dict[str, Any]]:
        """Yields the lines that are complete and tell a loss, each once."""
        if not self._steps_file.exists():
            return
        with self._steps_file.open("rb") as file:
            file.seek(self._read)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                self._read += len(line)
                entry = json.loads(line)
                if "loss" in entry:
                    yield entry

    def _how_it_ended(self, status: int) -> str:
        last = self._output.read_text(encoding="utf-8", errors="replace").splitlines()[-20:]
        return "\n".join(
            [f"{self.name} ended with status {status} after {len(self.steps)} steps. It last printed:", *last]
        )


def peak_memory(pid: int) -> int | None:
    """Returns the most bytes a process has had in memory so far; None where there is no /proc."""
    file = Path(f"/proc/{pid}/status")
    if not file.exists():
        return None
    found = re.search(r"^VmHWM:\s+(\d+) kB", file.read_text(encoding="utf-8"), re.MULTILINE)
    return int(found[1]) * 1024 if found else None
