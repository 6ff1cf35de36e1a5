"""The layout that mixers are given, and functions of it on a mesh."""

import jax.numpy as jnp
import numpy as np

from easydel.models.packed_layout import on_each_device, packed_layout
from easydel.sharding import make_mesh
from oracles.tiny import ONE_DEVICE


def test_a_layout_links_as_many_tokens_as_the_longest_convolution_reads_and_chunks_all_of_them():
    segment = jnp.asarray([[1, 1, 1, 1, 0]])
    branch = jnp.asarray([[0, 1, 2, 2, 0]])
    layout = packed_layout(segment, branch, taps=3, mesh=make_mesh(ONE_DEVICE), with_state=False)
    assert layout.linked.before.shape == (2, 1, 5)
    assert layout.chunks.visible[0, 0, :5, 0].tolist() == [True, True, True, True, False]
    # The first token of the rejected completion, at place 2, follows the prompt, at place 0.
    assert layout.linked.before[0, 0].tolist()[:4] == [0, 0, 0, 2]
    assert layout.linked.has_before[:, 0].tolist() == [
        [False, True, True, True, False],
        [False, False, False, True, False],
    ]


def test_each_device_has_its_own_rows_and_channels():
    x = np.arange(4 * 3 * 8, dtype=np.float32).reshape(4, 3, 8)
    shapes = []

    def double(x, scale):
        shapes.append(x.shape)
        return x * scale, jnp.sum(x, axis=-1, keepdims=True)

    axes = ("rows", "length", "channels")
    spread = on_each_device(double, make_mesh((2, 2, 1, 2, 1)), (axes, ("channels",)), (axes, axes))
    doubled, sums = spread(x, np.full(8, 2.0, np.float32))
    assert shapes == [(1, 3, 4)]
    np.testing.assert_array_equal(doubled, 2 * x)
    np.testing.assert_array_equal(sums, x.reshape(4, 3, 2, 4).sum(-1))
