#!/usr/bin/env bash
# A run of several processes has to call `jax.distributed.initialize` before anything asks jax for a device. Making a handler
# of Orbax asks: nothing is read or written, no array is there, and the processes can no longer join. It is enough that some
# module keeps a handler in a constant, as they hold no state: each process that imports it, however indirectly, fails with
# a message about computations and device calls that names neither Orbax nor the module. In one process nothing is seen.
# Expected: a handler, which is given its path and arrays by each call, is made without devices, as the one for JSON is. The
# page of jax.distributed.initialize (docs.jax.dev/en/latest/_autosummary/jax.distributed.initialize.html) names JAX
# computations, jax.devices and jax.local_devices; that of the handlers
# (orbax.readthedocs.io/en/latest/api_reference/checkpoint.handlers.html) says nothing of devices.
# Seen with jax 0.10.2, orbax-checkpoint 0.12.8 on Python 3.11. Exits with 1 if this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet jax==0.10.2 orbax-checkpoint==0.12.8
cd "$folder"
cat > made.py <<'PY'
"""Makes one thing of orbax, and then joins the one process that there is."""

import socket
import sys

import jax
import orbax.checkpoint as ocp

if sys.argv[1] != "nothing":
    getattr(ocp, sys.argv[1])()
with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    port = probe.getsockname()[1]
try:
    jax.distributed.initialize(f"127.0.0.1:{port}", num_processes=1, process_id=0)
except RuntimeError as error:
    print("cannot join:", "before any JAX calls" in str(error) and "too late")
else:
    print("joins")
PY
JAX_PLATFORMS=cpu "$folder/env/bin/python" - <<'PY'
import subprocess
import sys
from importlib.metadata import version

print("jax", version("jax"), "orbax-checkpoint", version("orbax-checkpoint"))
seen = {
    "nothing": "joins",
    "JsonCheckpointHandler": "joins",
    "PyTreeCheckpointHandler": "cannot join: too late",
    "StandardCheckpointHandler": "cannot join: too late",
}
for name, wanted in seen.items():
    ended = subprocess.run([sys.executable, "made.py", name], capture_output=True, text=True, timeout=120)
    print(f"{name}: expected 'joins', seen {ended.stdout.strip()!r}")
    assert ended.stdout.strip() == wanted, (ended.stdout, ended.stderr[-2000:])
PY
echo "as described"
