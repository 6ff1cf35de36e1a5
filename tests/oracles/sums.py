"""Sums over the devices of all processes: `python -m oracles.sums FILE SIZE`."""

import sys

import jax
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from easydel import processes


def main(file: str, size: int) -> None:
    """Writes `parts` [devices, size], their sum as `psum` makes it, and as `psum_scatter` does."""
    mesh = jax.make_mesh((jax.device_count(),), ("x",))
    parts = np.random.default_rng(0).normal(size=(jax.device_count(), size)).astype(np.float32)
    on_devices = jax.make_array_from_callback(parts.shape, NamedSharding(mesh, P("x")), lambda at: parts[at])

    def summed(sum_up, out_specs):
        return jax.jit(jax.shard_map(lambda part: sum_up(part[0]), mesh=mesh, in_specs=P("x"), out_specs=out_specs))

    sums = {
        "psum": summed(lambda part: jax.lax.psum(part, "x"), P())(on_devices),
        "psum_scatter": summed(lambda part: jax.lax.psum_scatter(part, "x", tiled=True), P("x"))(on_devices),
    }
    on_host = {name: processes.on_host(array) for name, array in sums.items()}
    if processes.is_first():
        np.savez(file, parts=parts, **on_host)


if __name__ == "__main__":
    processes.start(peer_timeout=30)
    main(sys.argv[1], int(sys.argv[2]))
    processes.stop()
