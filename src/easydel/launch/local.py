"""Several processes on this machine: `python -m easydel.launch.local --processes 2 --repo_id ... --dataset_name ...`.

What follows `--processes N` goes to `easydel.scripts.finetune.dpo`. Where one process fails the others are ended, and
what ends this one is sent to all. None outlives it: `launch.guard` ends them where it was killed. With `--restarts N`,
behind the first, all start again and continue when one has died, up to N times: `--resume auto` is added.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from easydel.launch import guard

_SIGNALS = [each for each in signal.Signals if each.name in ("SIGTERM", "SIGINT", "SIGHUP")]  # Windows lacks the last
Member = subprocess.Popen[bytes]
_USAGE = "usage: python -m easydel.launch.local --processes N [--restarts N] [arguments of the training]"
_FIXABLE, _INTERRUPTED = 2, 75  # exit status of a process: an error for the user, and ended by a signal, but saved
_SECONDS_BETWEEN_LOOKS = 0.1
_SECONDS_TO_END = 30.0
_SECONDS_AFTER_A_DEATH = 5.0  # of one that could not say anything; nothing that the others wait for comes any more
_MAX_DELAY = 10.0  # seconds before a restart


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the processes and returns the exit status of the first that failed, 0 if none did."""
    words = list(sys.argv[1:] if argv is None else argv)
    numbers = {"--processes": 0, "--restarts": 0}
    while len(words) > 1 and words[0] in numbers and words[1].isdigit():
        numbers[words[0]] = int(words[1])
        del words[:2]
    if numbers["--processes"] < 1 or words[:1] in (["--processes"], ["--restarts"]):
        print(_USAGE, file=sys.stderr)
        return 2
    if numbers["--restarts"]:
        words += ["--resume", "auto"]
    command = [sys.executable, "-m", "easydel.scripts.finetune.dpo", *words]
    return run(command, numbers["--processes"], restarts=numbers["--restarts"])


def run(command: Sequence[str], count: int, *, restarts: int = 0) -> int:
    """Runs a command as `count` processes that find each other, and returns the first exit status that is not 0.

    All are started again, up to `restarts` times, where one was killed or had an error that is not 2 (the user can put
    it right) or 75 (a signal ended it), unless a signal came to this process.
    """
    with _passed_on() as (members, sent):
        for restart in range(1, restarts + 1):
            status = _run_once(command, count, members, sent)
            if status in (0, _FIXABLE, _INTERRUPTED) or sent:
                return status
            delay = min(2.0 ** (restart - 1), _MAX_DELAY)
            _say(f"Exit status {status}: all {count} start again in {delay:g} s (restart {restart} of {restarts}).")
            until = time.monotonic() + delay
            while time.monotonic() < until and not sent:
                time.sleep(_SECONDS_BETWEEN_LOOKS)
            if sent:
                return status
        return _run_once(command, count, members, sent)


@contextmanager
def _passed_on() -> Iterator[tuple[list[Member], list[int]]]:
    """Gives the list of processes that get what signals come to this one, and the list of these signals."""
    members: list[Member] = []
    sent: list[int] = []

    def forward(number: int, frame: object) -> None:
        sent.append(number)
        for member in members:
            member.send_signal(number)

    heard = [each for each in _SIGNALS if signal.getsignal(each) != signal.SIG_IGN]  # as SIGHUP is under nohup
    before = {each: signal.signal(each, forward) for each in heard}
    try:
        yield members, sent
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _run_once(command: Sequence[str], count: int, members: list[Member], sent: Sequence[int]) -> int:
    """Runs the processes to their end, with `members` those that have been started, and returns the exit status."""
    members.clear()
    with _guard() as pipe:

        def started(member: Member) -> None:
            members.append(member)
            for number in sent:  # before it was there
                member.send_signal(number)

        return _first_failure(start(command, count, started=started, guard_pipe=pipe))


@contextmanager
def _guard() -> Iterator[int]:
    """Gives the pipe to a guard, which ends the processes whose ids it got where this one ends without waiting."""
    with subprocess.Popen(
        guard.COMMAND,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        assert process.stdin is not None
        yield process.stdin.fileno()
        process.kill()  # there is nothing left to guard


def start(
    command: Sequence[str],
    count: int,
    *,
    stderr: int | None = None,
    started: Callable[[Member], object] = lambda member: None,
    guard_pipe: int | None = None,
) -> list[Member]:
    """Starts a command as `count` processes that find each other; `stderr` as in `Popen`, `started` gets each.

    Each writes its id into `guard_pipe` before it becomes the command.
    """
    telling = [] if guard_pipe is None else [*guard.COMMAND, str(guard_pipe)]
    address = f"127.0.0.1:{_free_port()}"
    members = []
    for number in range(count):
        place = {
            "JAX_COORDINATOR_ADDRESS": address,
            "JAX_NUM_PROCESSES": str(count),
            "JAX_PROCESS_ID": str(number),
        }
        member = subprocess.Popen(
            [*telling, *command],
            env={**os.environ, **place},
            stderr=stderr,
            start_new_session=True,  # Ctrl-C comes to us, and goes to each of them once
            pass_fds=() if guard_pipe is None else (guard_pipe,),
        )
        started(member)
        members.append(member)
    return members


def _first_failure(members: Sequence[Member]) -> int:
    """Returns when all have ended; after a failure they have some time to notice it themselves."""
    failed, until = 0, 0.0
    while True:
        running = [number for number, member in enumerate(members) if member.poll() is None]
        failures = [(number, member.returncode) for number, member in enumerate(members) if member.returncode]
        if failures and not failed:
            number, failed = failures[0]
            until = time.monotonic() + _seconds_to_end(number, failed)
        if not running:
            break
        if failed and time.monotonic() > until:
            for number in running:
                _say(f"process {number} has not ended by itself, and is killed.")
                os.killpg(members[number].pid, signal.SIGKILL)  # with what it started
                members[number].wait()
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    codes = [member.returncode for member in members]
    for member, code in zip(members, codes, strict=True):
        if code < 0:
            with suppress(ProcessLookupError):
                os.killpg(member.pid, signal.SIGKILL)  # what it started may not have noticed
    if _FIXABLE in codes:  # others may have ended because of it
        return _FIXABLE
    return failed if failed >= 0 else 128 - failed  # as a shell says it of a process that a signal ended


def _seconds_to_end(number: int, code: int) -> float:
    """Returns how long the others get after a process ended; if it could not say why, it is said here."""
    if code > 0 or -code in _SIGNALS:
        return _SECONDS_TO_END
    _say(f"process {number} was ended by signal {-code} ({signal.strsignal(-code)}): the others end.")
    return _SECONDS_AFTER_A_DEATH


def _say(text: str) -> None:
    with suppress(OSError):  # nobody reads it any more
        print(text, file=sys.stderr, flush=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


if __name__ == "__main__":
    sys.exit(main())
