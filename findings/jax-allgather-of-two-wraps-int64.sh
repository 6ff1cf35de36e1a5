#!/usr/bin/env bash
# Multi-process runs add up counters with `multihost_utils.process_allgather` and share values with `broadcast_one_to_all`: tokens
# seen, file sizes, seeds. Both take and return numpy arrays. In a single process they return the int64 they were given. With
# two processes 3,000,000,000 comes back as -1,294,967,296 and 2**40 as 0, without a warning, and float64 comes back as
# float32: the values pass through jax arrays, which have 32 bits unless `jax_enable_x64` is set. A token counter is wrong
# after 2.1 billion tokens, while a test in one process passes.
# Expected from the docstrings and docs.jax.dev/en/latest/jax.experimental.multihost_utils.html, which promise "a pytree matching
# in_tree" with the data of the first host and do not mention dtypes: the same values. (Another difference between one
# process and several, the shape, is jax-ml/jax issue 25783.)
# Workaround: send the bytes of the array (`array.view(np.uint8)`).
# Seen with jax 0.10.2 and numpy 2.4.6 on Python 3.11. Exits with 1 if this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet jax==0.10.2 numpy==2.4.6
cd "$folder"
cat > member.py <<'PY'
"""One of so many processes: prints what the two functions return."""

import sys

import jax
import numpy as np

address, count, number = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
if count > 1:
    jax.distributed.initialize(address, count, number)
from jax.experimental import multihost_utils

tokens = np.array([3_000_000_000, 2**40])
gathered = multihost_utils.process_allgather(tokens).reshape(count, 2)
handed_out = multihost_utils.broadcast_one_to_all(tokens)
rate = multihost_utils.broadcast_one_to_all(np.array([0.1]))
as_bytes = multihost_utils.broadcast_one_to_all(tokens.view(np.uint8)).view(np.int64)
if number == 0:
    print(gathered[0].tolist(), handed_out.tolist(), gathered.dtype, rate.dtype, as_bytes.tolist(), sep="; ")
if count > 1:
    jax.distributed.shutdown()
PY
JAX_PLATFORMS=cpu "$folder/env/bin/python" - <<'PY'
import socket
import subprocess
import sys

import jax

print("jax", jax.__version__)


def returned(count):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    command = [sys.executable, "-W", "error::UserWarning", "member.py", address, str(count)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    members = [subprocess.Popen([*command, str(number)], **pipes) for number in range(count)]
    written = [member.communicate(timeout=100) for member in members]
    assert all(member.returncode == 0 for member in members), written
    return written[0][0].strip().splitlines()[-1]


right, wrong = "[3000000000, 1099511627776]", "[-1294967296, 0]"
seen = {
    1: f"{right}; {right}; int64; float64; {right}",
    2: f"{wrong}; {wrong}; int32; float32; {right}",
}
print("allgather; broadcast; its dtypes; broadcast as bytes")
for count, wanted in seen.items():
    found = returned(count)
    print(f"{count} process(es): expected {seen[1]!r}, seen {found!r}")
    assert found == wanted, found
PY
echo "as described"
