"""What the compiler says of single operations on devices that need not be here: no weight is made and nothing is run.

    python -m benchmarks.kernels --tpu v5e:2x2

Attention of one layer, forward and gradient, by the length of a row: the memory that its program takes besides query,
key, value and their gradients. The devices are chosen as by `benchmarks.memory`.
"""

import argparse
import datetime
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding

from benchmarks.machine import commit
from benchmarks.memory import devices_of
from benchmarks.tables import table
from easydel.ops.attention import packed_attention, resolve_mechanism
from easydel.ops.mechanism import needs_on
from easydel.sharding import make_mesh, spec_for

HEADS, KV_HEADS, HEAD_DIM = 8, 2, 128


def attention_memory(mechanism: str, length: int, mesh: Mesh, *, dtype: Any, window: int | None = None) -> int:
    """Returns the bytes of temporaries of attention on one row, forward and gradient: 8 heads of 128, 2 of keys."""

    def form(*shape: int, axes: tuple[str, ...], dtype: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape, dtype, sharding=NamedSharding(mesh, spec_for(axes, shape, mesh)))

    def gradients(segment: Any, branch: Any, position: Any, *given: Any) -> Any:
        attention = packed_attention(mechanism, segment, branch, position, scale=0.1, mesh=mesh, window=window)
        *inputs, d_out = given
        return jax.vjp(lambda query, key, value: attention(query, key, value, None), *inputs)[1](d_out)

    number = form(1, length, axes=("rows", "length"), dtype="int32")
    query, key = (
        form(1, length, heads, HEAD_DIM, axes=("rows", "length", name, "head_dim"), dtype=dtype)
        for heads, name in ((HEADS, "heads"), (KV_HEADS, "kv_heads"))
    )
    said = jax.jit(gradients).lower(number, number, number, query, key, key, query).compile().memory_analysis()
    assert said is not None, "XLA on this platform does not say what a program takes"
    return said.temp_size_in_bytes


def main(argv: Sequence[str] | None = None) -> int:
    """Prints one row for each length, and returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kernels", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--lengths", type=lambda text: list(map(int, text.split(","))), default=[4096, 16384, 65536])
    parser.add_argument("--window", type=int, help="of the attention")
    parser.add_argument("--dtype", default="bfloat16", help="of the computation")
    parser.add_argument("--gpu", type=Path, help="description of a GPU that need not be here")
    parser.add_argument("--tpu", help="topology of TPUs that need not be here, such as v5e:2x2")
    options = parser.parse_args(sys.argv[1:] if argv is None else argv)
    mesh = make_mesh((1, 1, 1, 1, 1), devices_of(options.gpu, options.tpu))
    needs = needs_on(mesh, head_dim=HEAD_DIM, dtype=options.dtype, dropout_rate=0.0, score_cap=None)
    mechanism = resolve_mechanism("auto", needs)
    rows = [
        [
            f"{length:,}",
            f"{attention_memory(mechanism, length, mesh, dtype=options.dtype, window=options.window) / 1e9:.3f}",
        ]
        for length in options.lengths
    ]
    print(
        f"Attention by {mechanism!r}, {HEADS} heads of {HEAD_DIM}, {KV_HEADS} of keys, {options.dtype}, window "
        f"{options.window}; {mesh.devices.flat[0].device_kind}; jax {jax.__version__}, "
        f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}, commit {commit()}.\n"
    )
    print(table(["tokens of a row", "temporary GB"], rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
