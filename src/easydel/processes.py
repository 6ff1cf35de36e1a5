"""The processes of a run: how they find each other, who writes, and how what lies on all of them comes to each.

One process is the usual case, in which nothing here does anything. Several run the same program; each has devices of
its own, tokenizes its share of the rows, packs the same batches, and puts its rows of them on its devices. The first
one writes; all write checkpoints.
"""

import atexit
import io
import os
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from easydel.errors import ConfigError, warn
from easydel.peer_watch import PeerWatch

if TYPE_CHECKING:  # the command line must answer --help without it
    import numpy as np

PEER_TIMEOUT = 100  # seconds
_SECONDS_TO_COME = 30
_SECONDS_TO_LEAVE = 5  # of waiting for the others after an error, which they may have too
_PIECE = 1 << 26  # bytes that are sent at a time, as they go through the memory of the devices
# The variables by which a launcher, or `examples/launch`, tells a process its place.
_VARIABLES = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
_watches: list[PeerWatch] = []  # the one of this process, while it has joined others
T = TypeVar("T")
_SLURM = ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_PROCID", "SLURM_LOCALID")


def start(
    coordinator_address: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    *,
    peer_timeout: int = PEER_TIMEOUT,
) -> None:
    """Joins the other processes of a run; before anything asks jax for a device. Alone, or joined, it does nothing.

    Where no argument is given, the variables JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID count, and
    without these what SLURM, Open MPI or a TPU pod tells its processes. A `peer_timeout` without peers is warned of.

    Args:
        coordinator_address: host and port of the first process.
        num_processes: how many there are.
        process_id: which of them this is, from 0.
        peer_timeout: seconds after which a process that gives no sign of life ends all others.

    Raises:
        ConfigError: one of the three is missing or invalid.
    """
    import jax

    if jax.distributed.is_initialized():
        return
    given = _given(coordinator_address, num_processes, process_id, os.environ)
    # One that ends by an exception waits for the others in jax's own shutdown, and they for it in their next exchange.
    # jax watches them too, for when our watch cannot. It names a process only in a stack trace, so that ours, and what
    # `leave` does, have to come first.
    join = partial(
        jax.distributed.initialize,
        heartbeat_timeout_seconds=2 * peer_timeout + 2 * _SECONDS_TO_LEAVE,
        shutdown_timeout_seconds=peer_timeout + 2 * _SECONDS_TO_LEAVE,
    )
    if given is not None:
        address, count, number = given
        join(address, count, number)
    elif in_cluster(os.environ):
        join()
    else:
        _warn_alone(peer_timeout)
        return
    from jax._src import distributed

    joined = distributed.global_state
    if joined.num_processes > 1:
        _watches[:] = [
            PeerWatch(joined.client, number=joined.process_id, count=joined.num_processes, timeout=peer_timeout)
        ]
        atexit.register(_at_exit)
    else:
        _warn_alone(peer_timeout)


def _warn_alone(peer_timeout: int) -> None:
    if peer_timeout != PEER_TIMEOUT:
        warn(f"peer_timeout = {peer_timeout} has no effect on a run of one process, which has no peers: leave it out.")


def _at_exit() -> None:
    """Comes before jax's own, which waits for the others; they may not come after an error."""
    if isinstance(getattr(sys, "last_value", None), Exception):  # what Python has just said the traceback of
        leave(1)
    _stop_watch()


def _stop_watch() -> None:
    while _watches:
        _watches.pop().stop()


def stop() -> None:
    """Leaves the other processes, once all have come here: the first must not be gone before."""
    import jax

    agreed(True)  # the first may have much to write yet, and jax's shutdown waits for `peer_timeout` only
    _stop_watch()
    jax.distributed.shutdown()


def leave(status: int) -> None:
    """Ends this process if it is one of several, after an error that the others may not have; else it does nothing.

    Where all come here they leave together; otherwise it goes alone, and they end too, with the same status.
    """
    if "jax" not in sys.modules:
        return
    import jax
    from jax._src import distributed

    if not jax.distributed.is_initialized() or distributed.global_state.num_processes == 1:
        return
    for watch in _watches:
        watch.end_if_told()  # another failed, which made this one fail
    leaving = threading.Thread(target=jax.distributed.shutdown, daemon=True)
    leaving.start()
    leaving.join(_SECONDS_TO_LEAVE)
    if leaving.is_alive():
        for watch in _watches:
            watch.tell("has ended with an error of its own, see there", status)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # an exit as usual would wait for the others again


def in_cluster(environment: Mapping[str, str]) -> bool:
    """Returns whether a cluster has started this process as one of several.

    >>> in_cluster({}), in_cluster({"OMPI_COMM_WORLD_SIZE": "4", "OMPI_MCA_orte_hnp_uri": "..."})
    (False, True)
    """
    slurm = all(name in environment for name in _SLURM) and environment.get("SLURM_STEP_NUM_TASKS", "1") != "1"
    mpi = "OMPI_MCA_orte_hnp_uri" in environment and environment.get("OMPI_COMM_WORLD_SIZE", "1") != "1"
    return slurm or mpi or "," in environment.get("TPU_WORKER_HOSTNAMES", "")


def count() -> int:
    """Returns how many processes there are."""
    import jax

    return jax.process_count()


def number() -> int:
    """Returns which of the processes this is, from 0."""
    import jax

    return jax.process_index()


def is_first() -> bool:
    """Returns whether this is the process that writes and shows what a run has to say."""
    return number() == 0


def local(devices: Sequence[Any]) -> Sequence[Any]:
    """Returns those of the devices that are this process's: only they can be asked about themselves."""
    import jax

    return devices if count() == 1 else [device for device in devices if device.process_index == jax.process_index()]


def agreed(value: bool) -> bool:
    """Returns the value of the first process, after all have come here."""
    if count() == 1:
        return value
    import numpy as np
    from jax.experimental import multihost_utils

    return bool(multihost_utils.broadcast_one_to_all(np.int32(value)))


def by_first(work: Callable[[], T]) -> T | None:
    """Returns what the first process makes by `work`, once it is done; None in the others. All must come here.

    Raises:
        ConfigError: what the first one raised, in each of them.
    """
    if count() == 1:
        return work()
    import numpy as np

    made, error = None, None
    if is_first():
        try:
            made = work()
        except ConfigError as raised:
            error = raised
    shared = from_first({} if error is None else {"error": np.array(str(error))})
    if "error" in shared:
        raise error or ConfigError(str(shared["error"]))
    return made


def gathered(arrays: "Mapping[str, np.ndarray]") -> "list[dict[str, np.ndarray]]":
    """Returns the arrays that each process gives, in the order of the processes; all must come here.

    >>> gathered({"ids": []})
    [{'ids': []}]
    """
    if count() == 1:
        return [dict(arrays)]
    from jax.experimental import multihost_utils

    return [_from_bytes(content) for content in _sent(_to_bytes(arrays), multihost_utils.process_allgather)]


def from_first(arrays: "Mapping[str, np.ndarray]") -> "dict[str, np.ndarray]":
    """Returns the arrays that the first process gives; all must come here, the others with anything."""
    if count() == 1:
        return dict(arrays)
    from jax.experimental import multihost_utils

    content = _to_bytes(arrays if is_first() else {})
    return _from_bytes(*_sent(content, lambda part: multihost_utils.broadcast_one_to_all(part)[None]))


def on_host(array: Any) -> "np.ndarray":
    """Returns the whole of an array; where parts of it lie with other processes, all must ask for it together."""
    import numpy as np
    from jax.experimental import multihost_utils

    if array.is_fully_addressable or array.is_fully_replicated:
        return np.asarray(array)

    return multihost_utils.process_allgather(array, tiled=True)


def all_come(place: str) -> bool:
    """Returns whether all processes come here, with the same words for the place, within half a minute.

    For what may have happened to one of them only, after which nothing can be agreed on through the devices: the others
    may be computing on them.
    """
    if count() == 1:
        return True
    import jax
    from jax._src import distributed  # jax has no barrier of its own that ends

    client: Any = distributed.global_state.client
    try:
        client.wait_at_barrier(place, _SECONDS_TO_COME * 1000)
    except jax.errors.JaxRuntimeError:  # they did not
        return False
    return True


def is_time_to_leave(step: int) -> bool:
    """Returns whether all processes end after this step, as one of them got a SIGTERM; to be asked at every step."""
    if count() == 1:
        return False
    from jax.experimental import multihost_utils

    return multihost_utils.reached_preemption_sync_point(step)


def _to_bytes(arrays: "Mapping[str, np.ndarray]") -> bytes:
    import numpy as np

    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **arrays)
    return file.getvalue()


def _from_bytes(content: bytes) -> "dict[str, np.ndarray]":
    import numpy as np

    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return dict(arrays)


def _sent(content: bytes, send: "Callable[[np.ndarray], np.ndarray]") -> list[bytes]:
    """Returns the contents of the processes, which may differ in length, sent by what sends arrays of one shape."""
    import numpy as np

    lengths = _lengths(len(content), send)
    max_length = max(lengths)
    room = 1 << (min(max_length, _PIECE) - 1).bit_length()  # so that few sizes are compiled
    parts = []
    for start in range(0, max_length, room):
        part = np.zeros(room, np.uint8)
        piece = np.frombuffer(content[start : start + room], np.uint8)
        part[: len(piece)] = piece
        parts.append(send(part))
    return [b"".join(part[at].tobytes() for part in parts)[:length] for at, length in enumerate(lengths)]


def _lengths(length: int, send: "Callable[[np.ndarray], np.ndarray]") -> list[int]:
    """Returns the lengths of the processes, in two numbers each: jax sends int32 by default, which ends at 2 GiB."""
    import numpy as np

    return [high << 30 | low for high, low in send(np.asarray(divmod(length, 1 << 30), np.int32)).tolist()]


def _given(
    address: str | None, count: int | None, number: int | None, environment: Mapping[str, str]
) -> tuple[str, int, int] | None:
    """Returns address, count and number as given by arguments or else by variables; None where all are absent."""
    values: list[Any] = [address, count, number]
    names = ("coordinator_address", "num_processes", "process_id")
    if values == [None, None, None]:
        values, names = [environment.get(name) for name in _VARIABLES], _VARIABLES
    if all(value in (None, "") for value in values):
        return None
    shown = ", ".join(f"{name} = {value}" for name, value in zip(names, values, strict=True))
    try:
        found = str(values[0]), int(values[1]), int(values[2])
    except (TypeError, ValueError):
        raise ConfigError(
            f"{shown}: give all three (address, number of processes, id of this one) or none of them."
        ) from None
    if ":" not in found[0] or not 0 <= found[2] < found[1]:
        raise ConfigError(f"{shown}: the address must be host:port, and the id from 0 to num_processes - 1.")
    return found
