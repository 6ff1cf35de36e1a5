"""The device mesh, and the rules that map the logical axes of an array to the axes of the mesh."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from easydel.errors import ConfigError

# Data, weights and data ("fully sharded"), experts, tensor, sequence.
MESH_AXES = ("dp", "fsdp", "ep", "tp", "sp")

# An axis that is not named here is the same on every device. The residual stream (`residual`) is one of
# those: norm weights and output biases are too small to be worth a gather. Devices that share a row (`sp`) see
# different tokens, so they may share the weights too, as those of `fsdp` do.
RULES: dict[str, tuple[str, ...]] = {
    "rows": ("dp", "fsdp"),
    "length": ("sp",),
    "embed": ("fsdp", "sp"),
    "vocab": ("tp",),
    "heads": ("tp",),
    "kv_heads": ("tp",),
    "mlp": ("tp",),
    "channels": ("tp",),
    "key_heads": ("tp",),
    "value_heads": ("tp",),
    "experts": ("ep",),
    "expert_mlp": ("tp",),
    "shared": ("tp",),
}


def make_mesh(sharding_axis_dims: Sequence[int], devices: Sequence[Any] | None = None) -> Mesh:
    """Returns the mesh `(dp, fsdp, ep, tp, sp)`; one size may be -1 and takes what is left of all devices.

    Sizes that are all given may ask for fewer devices than there are, and take the first ones.

    Raises:
        ConfigError: not five sizes, more devices than there are, or a rest that does not divide.
    """
    devices = jax.devices() if devices is None else list(devices)
    dims = list(sharding_axis_dims)
    shown = f"sharding_axis_dims {tuple(dims)}"
    if len(dims) != len(MESH_AXES):
        raise ConfigError(f"{shown} has {len(dims)} sizes; it needs {len(MESH_AXES)}: {', '.join(MESH_AXES)}.")
    if any(size < 1 and size != -1 for size in dims) or dims.count(-1) > 1:
        raise ConfigError(f"{shown}: each size must be at least 1, and at most one may be -1 (what is left).")
    fixed = math.prod(size for size in dims if size != -1)
    if -1 in dims:
        dims[dims.index(-1)] = len(devices) // fixed
    elif fixed < len(devices) and jax.process_count() == 1:
        devices = devices[:fixed]  # where all sizes are given, their product is the number of devices
    if math.prod(dims) != len(devices):
        wanted = f"a multiple of {fixed}" if -1 in sharding_axis_dims else f"{fixed}"
        raise ConfigError(f"{shown} needs {wanted} devices; {len(devices)} are here. Use -1 for an axis that may vary.")
    # `jax.make_mesh` would make the axes Explicit, and every matmul would need a sharding of its own.
    return jax.make_mesh(tuple(dims), MESH_AXES, devices=devices, axis_types=(AxisType.Auto,) * len(MESH_AXES))


def spec_for(axes: Sequence[str], shape: Sequence[int], mesh: Mesh, *, name: str = "an array") -> PartitionSpec:
    """Returns how an array with these logical axes is split over the mesh.

    Raises:
        ConfigError: an axis whose size does not divide over its part of the mesh; `name` says which array.
    """
    entries: list[tuple[str, ...] | None] = []
    for axis, size in zip(axes, shape, strict=True):
        used = tuple(part for part in RULES.get(axis, ()) if mesh.shape[part] > 1)
        parts = math.prod(mesh.shape[part] for part in used)
        if size % parts:
            raise ConfigError(
                f"{name}: axis {axis!r} of size {size} does not divide over {parts} devices "
                f"(mesh axis {' x '.join(used)}). Choose sharding_axis_dims so that it does."
            )
        entries.append(used or None)
    return PartitionSpec(*entries)


def sharding_for(axes: Sequence[str], shape: Sequence[int], mesh: Mesh, *, name: str = "an array") -> NamedSharding:
    """Returns `spec_for` together with its mesh, ready for `jax.device_put`."""
    return NamedSharding(mesh, spec_for(axes, shape, mesh, name=name))


def token_spec(x: jax.Array, mesh: Mesh) -> PartitionSpec:
    """Returns how an array [rows length ...] of tokens is split; single tokens, as generation adds, by rows alone."""
    return spec_for(("rows", "length" if x.shape[1] > 1 else "token"), x.shape[:2], mesh, name="tokens")


def split_tokens(x: jax.Array, mesh: Mesh) -> jax.Array:
    """Returns `x`, constrained to be split as `token_spec` says."""
    return x if mesh.size == 1 else jax.lax.with_sharding_constraint(x, NamedSharding(mesh, token_spec(x, mesh)))


def looked_up(look_up: Callable[[jax.Array], jax.Array], tokens: jax.Array, mesh: Mesh) -> jax.Array:
    """Returns `look_up(tokens)`, [rows length embed] from a table split along `embed`, split as tokens are.

    Each device looks up its channels of all tokens, and these then go to where the tokens are, one mesh axis after
    another: left to itself, XLA goes through an array that is whole on every device.
    """
    if mesh.size == 1:
        return look_up(tokens)
    x = look_up(jax.lax.with_sharding_constraint(tokens, NamedSharding(mesh, PartitionSpec("dp", None))))
    for spec in (PartitionSpec("dp", None, ("fsdp", "sp")), PartitionSpec(("dp", "fsdp"), None, "sp")):
        x = jax.lax.with_sharding_constraint(x, NamedSharding(mesh, spec))
    return split_tokens(x, mesh)


def parts_of(axis: str, mesh: Mesh) -> int:
    """Returns into how many parts a logical axis is split."""
    return math.prod(mesh.shape[part] for part in RULES.get(axis, ()))


# Over how many devices of a mesh rows are split, and each row: the number of rows, and their length, are multiples.
row_shards, length_shards = partial(parts_of, "rows"), partial(parts_of, "length")
