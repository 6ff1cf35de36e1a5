"""Where the arrays of a batch lie on a mesh."""

import jax
import numpy as np
import pytest

from easydel.data.pack import Batch
from easydel.sharding import make_mesh
from easydel.trainers.batch_placement import PER_PAIR, on_mesh
from oracles.tiny import micro_batches, tiny_pairs


@pytest.mark.parametrize("dims", [(1, 1, 1, 1, 1), (2, 2, 1, 2, 1), (1, 8, 1, 1, 1)], ids=str)
def test_a_batch_is_split_by_rows_and_keeps_its_values(dims):
    mesh = make_mesh(dims)
    shards = dims[0] * dims[1]
    batch = micro_batches(tiny_pairs(16), 2, filler=1)
    # One slot row per shard, as packing for this mesh gives.
    per_slot = ("source", "target", "sequence", "offset")
    batch = batch._replace(**{name: np.repeat(getattr(batch, name), shards, 1) for name in per_slot})
    placed = on_mesh(batch, mesh)
    assert isinstance(placed, Batch)
    jax.tree.map(np.testing.assert_array_equal, placed, batch)
    for name, array in placed._asdict().items():
        parts = 1 if name in PER_PAIR else shards
        assert array.addressable_shards[0].data.shape[1] * parts == array.shape[1], name
        assert array.addressable_shards[0].data.shape[0] == 2, name  # every device has every micro-batch
