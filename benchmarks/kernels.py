"""What the compiler says of single operations on devices that need not be here: no weight is made and nothing is run.

    python -m benchmarks.kernels --tpu v5e:2x2

Attention of one layer, forward and gradient, by the length of a row: the memory that its program takes besides query,
key, value and their gradients. And the product of tokens with the matrices of their experts, forward and gradients,
with 64 experts of which each of 4 x 2048 tokens has 8: its memory, and how many dense products XLA made of it, which
compute every expert for every token. The devices are chosen as by `benchmarks.memory`.
"""

import argparse
import datetime
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, SingleDeviceSharding

from benchmarks.machine import commit
from benchmarks.memory import devices_of
from benchmarks.tables import table
from easydel.ops.attention import packed_attention, resolve_mechanism
from easydel.ops.grouped import grouped_product, make_groups
from easydel.ops.mechanism import needs_on
from easydel.sharding import make_mesh, spec_for

HEADS, KV_HEADS, HEAD_DIM = 8, 2, 128
EXPERTS, ROWS, EMBED, MLP = 64, 4 * 2048 * 8, 2048, 768


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


def expert_program(mesh: Mesh, *, dtype: Any) -> tuple[int, int]:
    """Returns how many dense products there are in the program of a grouped product, and its bytes of temporaries."""
    device = mesh.devices.flat[0]

    def form(*shape: int, dtype: Any = dtype) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape, dtype, sharding=SingleDeviceSharding(device))

    def product(x: Any, weights: Any, sizes: Any, d_out: Any) -> Any:
        groups = make_groups(sizes, ROWS)
        out, back = jax.vjp(
            lambda x, weights: grouped_product(x, weights, groups, platform=device.platform), x, weights
        )
        return (out, *back(d_out))

    forms = form(ROWS, EMBED), form(EXPERTS, EMBED, MLP), form(EXPERTS, dtype="int32"), form(ROWS, MLP)
    program = jax.jit(product).lower(*forms).compile()
    said = program.memory_analysis()
    assert said is not None, "XLA on this platform does not say what a program takes"
    return len(re.findall(r" (?:dot|convolution)\(", program.as_text() or "")), said.temp_size_in_bytes


def main(argv: Sequence[str] | None = None) -> int:
    """Prints one row for each length, and a line about experts, and returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kernels", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--lengths", type=lambda text: list(map(int, text.split(","))), default=[4096, 16384, 65536])
    parser.add_argument("--window", type=int, help="of the attention")
    parser.add_argument("--dtype", default="bfloat16", help="of the computation")
    parser.add_argument("--gpu", type=Path, help="description of a GPU that need not be here")
    parser.add_argument("--tpu", help="topology of TPUs that need not be here, such as v5e:2x2")
    options = parser.parse_args(sys.argv[1:] if argv is None else argv)
    mesh = make_mesh((1, 1, 1, 1, 1), devices_of(options.gpu, options.tpu))
    needs = needs_on(
        mesh, heads=(HEADS, KV_HEADS), head_dim=HEAD_DIM, dtype=options.dtype, dropout_rate=0.0, score_cap=None
    )
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
    dense, temporary = expert_program(mesh, dtype=options.dtype)
    print(
        f"\nProduct of {ROWS:,} rows with {EXPERTS} matrices of {EMBED} x {MLP}, and its gradients: "
        f"{dense} dense products, {temporary / 1e9:.3f} temporary GB."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
