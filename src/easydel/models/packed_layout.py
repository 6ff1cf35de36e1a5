"""How the tokens of packed rows hang together, as convolutions and recurrences ask; computed once for all layers."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Int

from easydel.ops.causal_conv import Links, links
from easydel.ops.recurrence import Chunks, chunks_of
from easydel.sharding import RULES


class PackedLayout(NamedTuple):
    """The layout of packed rows for all mixers of a model, and what they are to return.

    Attributes:
        linked: see `easydel.ops.causal_conv.links`.
        chunks: see `easydel.ops.recurrence.chunks_of`.
        with_state: whether they return what is left behind the last token of each row, which then ends in one.
    """

    segment: Int[Array, "rows length"]
    linked: Links
    chunks: Chunks
    mesh: Mesh
    with_state: bool


def packed_layout(
    segment: Int[Array, "rows length"],
    branch: Int[Array, "rows length"],
    *,
    taps: int,
    mesh: Mesh,
    with_state: bool,
) -> PackedLayout:
    """Returns the layout of rows whose segments lie as [prompt chosen rejected], for convolutions of `taps` taps."""
    return PackedLayout(segment, links(segment, branch, taps - 1), chunks_of(segment, branch), mesh, with_state)


def on_each_device(function: Callable[..., Any], mesh: Mesh, axes: tuple[Any, ...], out: Any) -> Callable[..., Any]:
    """Returns `function`, applied by each device to its own rows and channels.

    Args:
        axes: the logical axes of each argument; one tuple may stand for all arrays of it.
        out: those of what it returns.
    """
    if mesh.size == 1:
        return function

    def specs(tree: Any) -> Any:
        return jax.tree.map(
            lambda names: PartitionSpec(*(RULES.get(name) or None for name in names)),
            tree,
            is_leaf=lambda leaf: isinstance(leaf, tuple) and all(isinstance(name, str) for name in leaf),
        )

    return jax.shard_map(function, mesh=mesh, in_specs=specs(axes), out_specs=specs(out), check_vma=False)
