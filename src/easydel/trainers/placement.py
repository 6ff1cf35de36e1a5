"""What lies where: the table that a run on several devices begins with."""

import math
from collections.abc import Mapping
from typing import Any

import jax
from jax.sharding import Mesh

from easydel import processes
from easydel.display.words import size
from easydel.sharding import length_shards, row_shards


def placement(mesh: Mesh, trees: Mapping[str, Any], computed: Mapping[str, int]) -> str:
    """Returns the sizes of the mesh axes, and what each device holds, as a table.

    Args:
        trees: arrays that are held all along, by purpose; one that is in several trees counts in the first.
        computed: bytes that a step needs besides, by purpose, on all devices that share its rows together.
    """
    kind, several = mesh.devices.flat[0].platform, processes.count()
    of = f" of {several} processes" if several > 1 else ""
    share = row_shards(mesh) * length_shards(mesh)
    held, counted = {}, set()
    for name, tree in trees.items():
        arrays = {id(x): x for x in jax.tree.leaves(tree) if id(x) not in counted}
        counted |= arrays.keys()
        held[name] = bytes_on_each(list(arrays.values()))
    held |= {name: -(-count // share) for name, count in computed.items()}
    held = {name: count for name, count in held.items() if count}
    lines = [f"{mesh.size} {kind} devices{of}, on each of them"]
    axes = (list(mesh.shape), [str(length) for length in mesh.shape.values()])
    sizes = (list(held), [size(count) for count in held.values()])
    for axis_row, size_row in zip(axes, sizes, strict=True):
        cells = [f"{cell:>6}" for cell in axis_row] + [f"{cell:>13}" for cell in size_row]
        lines.append("".join(cells))
    return "\n".join(lines)


def bytes_on_each(tree: Any) -> int:
    """Returns the bytes of a tree that lie on each device: a part of what is split, the whole of what is not."""
    return sum(math.prod(x.sharding.shard_shape(x.shape)) * x.dtype.itemsize for x in jax.tree.leaves(tree))
