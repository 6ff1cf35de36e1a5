"""Where the arrays of a batch lie on a mesh: rows are split, what has one value a pair is on every device."""

from collections.abc import Sequence

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Shaped

from easydel import processes
from easydel.data.pack import Batch
from easydel.data.pair import RowNumbers
from easydel.sharding import RULES

# The fields of a batch that have one value per pair and not per row or slot.
PER_PAIR = ("lengths", "index", *RowNumbers._fields)
# Those that have one value per token of a row.
PER_TOKEN = ("tokens", "segment", "branch", "position")


def on_mesh(batch: Batch, mesh: Mesh) -> Batch:
    """Returns a stacked batch on the devices: rows and slots split over the mesh, what is per pair on each."""
    return jax.tree.unflatten(jax.tree.structure(batch), placed(list(batch), _batch_shardings(mesh)))


def placed(
    arrays: Sequence[Shaped[np.ndarray, "..."]], shardings: Sequence[NamedSharding]
) -> list[Shaped[jax.Array, "..."]]:
    """Returns arrays on the devices; each process has them whole, and puts its part of them on its own devices."""
    if processes.count() == 1:
        return jax.device_put(list(arrays), list(shardings))
    return [
        jax.make_array_from_callback(x.shape, place, x.__getitem__) for x, place in zip(arrays, shardings, strict=True)
    ]


def abstract_batch(batch: Batch, mesh: Mesh) -> Batch:
    """Returns shape, dtype and place of each array of `on_mesh(batch, mesh)`."""
    places = zip(batch, _batch_shardings(mesh), strict=True)
    with_place = [jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place) for x, place in places]
    return jax.tree.unflatten(jax.tree.structure(batch), with_place)


def replicated(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of what is on every device."""
    return NamedSharding(mesh, PartitionSpec())


def _batch_shardings(mesh: Mesh) -> list[NamedSharding]:
    by_row = NamedSharding(mesh, PartitionSpec(None, RULES["rows"]))
    by_token = NamedSharding(mesh, PartitionSpec(None, RULES["rows"], RULES["length"]))
    places: dict[str, NamedSharding] = {
        **dict.fromkeys(PER_PAIR, replicated(mesh)),
        **dict.fromkeys(PER_TOKEN, by_token),
    }
    return [places.get(name, by_row) for name in Batch._fields]
