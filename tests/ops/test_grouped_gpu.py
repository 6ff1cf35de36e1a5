"""The kernels of GPUs, interpreted here, against one dense product after another."""

import jax.numpy as jnp
import numpy as np
import pytest

from easydel.ops.grouped import BLOCK, make_groups
from easydel.ops.grouped_gpu import product_of_blocks, products_of_groups

SIZES = (1, 0, BLOCK + 3, 2 * BLOCK, 0, 17)  # a single row, none, more than a block, whole ones; sizes of no tile


def dense(x, weights):
    """x[i] @ weights[group of i], group after group, in float64."""
    x, weights = (np.asarray(each, np.float64) for each in (x, weights))
    parts = np.split(x[: sum(SIZES)], np.cumsum(SIZES)[:-1])
    return np.concatenate([part @ matrix for part, matrix in zip(parts, weights, strict=True)])


@pytest.mark.parametrize(("turned", "dtype", "off"), [(False, "float32", 2e-5), (True, "bfloat16", 0.3)])
def test_rows_meet_the_matrix_of_their_group_and_no_other(turned, dtype, off):
    random = np.random.default_rng(0)
    x, weights = (jnp.asarray(random.standard_normal(shape), dtype) for shape in ((240, 150), (len(SIZES), 150, 130)))
    groups = make_groups(jnp.asarray(SIZES), 240)
    given = jnp.swapaxes(weights, 1, 2) if turned else weights
    how = {"size": BLOCK, "turned": turned, "precision": "highest", "interpret": True}
    found = product_of_blocks(x, given, (groups.group, groups.start, groups.end), **how)
    assert found.dtype == dtype
    np.testing.assert_allclose(np.asarray(found, np.float64)[: sum(SIZES)], dense(x, weights), atol=off)


def test_the_gradient_of_a_group_without_rows_is_zero_and_that_of_others_is_of_their_rows():
    random = np.random.default_rng(0)
    x, y = (jnp.asarray(random.standard_normal((240, width)), jnp.float32) for width in (130, 20))
    ends = np.cumsum(SIZES)
    starts = ends - SIZES
    how = {"dtype": jnp.float32, "precision": "highest", "interpret": True}
    found = products_of_groups(x, y, jnp.asarray(starts), jnp.asarray(ends), **how)
    for mine, start, end in zip(found, starts, ends, strict=True):
        np.testing.assert_allclose(mine, np.asarray(x)[start:end].T @ np.asarray(y)[start:end], atol=5e-5)
