"""Several processes on this machine: `python -m easydel.launch.local --processes 2 --repo_id ... --dataset_name ...`.

What follows `--processes N` goes to `easydel.scripts.finetune.dpo`. Where one process fails the others are ended, and
what ends this one is sent to all.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence

_SECONDS_BETWEEN_LOOKS = 0.1
_SECONDS_TO_END = 30.0


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the processes and returns the exit status of the first that failed, 0 if none did."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if len(arguments) < 2 or arguments[0] != "--processes" or not arguments[1].isdigit() or int(arguments[1]) < 1:
        print("usage: python -m easydel.launch.local --processes N [arguments of the training]", file=sys.stderr)
        return 2
    return run([sys.executable, "-m", "easydel.scripts.finetune.dpo", *arguments[2:]], int(arguments[1]))


def run(command: Sequence[str], count: int) -> int:
    """Runs a command as `count` processes that find each other, and returns the first exit status that is not 0."""
    members = start(command, count)

    def tell(number: int, frame: object) -> None:
        for member in members:
            member.send_signal(number)

    before = {each: signal.signal(each, tell) for each in (signal.SIGTERM, signal.SIGINT)}
    try:
        return _first_failure(members)
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def start(command: Sequence[str], count: int, *, stderr: int | None = None) -> list[subprocess.Popen[bytes]]:
    """Starts a command as `count` processes that find each other; `stderr` is where they complain, as in `Popen`."""
    address = f"127.0.0.1:{_free_port()}"
    return [
        subprocess.Popen(
            command,
            env={
                **os.environ,
                "JAX_COORDINATOR_ADDRESS": address,
                "JAX_NUM_PROCESSES": str(count),
                "JAX_PROCESS_ID": str(number),
            },
            stderr=stderr,
            start_new_session=True,  # Ctrl-C comes to us, and goes to each of them once
        )
        for number in range(count)
    ]


def _first_failure(members: Sequence[subprocess.Popen[bytes]]) -> int:
    """Returns when all have ended; after a failure they have some time to notice it themselves."""
    failed, since = 0, 0.0
    while None in [member.poll() for member in members]:
        time.sleep(_SECONDS_BETWEEN_LOOKS)
        failures = [member.returncode for member in members if member.returncode]
        if failures and not failed:
            failed, since = failures[0], time.monotonic()
        if failed and time.monotonic() - since > _SECONDS_TO_END:
            for member in members:
                member.kill()
    failed = failed or next((member.returncode for member in members if member.returncode), 0)
    return failed if failed >= 0 else 128 - failed  # as a shell says it of a process that a signal ended


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


if __name__ == "__main__":
    sys.exit(main())
