"""The grouped product against `jax.lax.ragged_dot`, forward and backward."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from easydel.ops.grouped import BLOCK, grouped_product, make_groups
from oracles.products import precisions

ROWS = 3 * BLOCK + 10


@pytest.mark.parametrize(
    "sizes",
    [
        (ROWS,),
        (0, ROWS, 0),
        (BLOCK, 0, 2 * BLOCK, 10),
        (1, 70, 3, 0, 50),  # and rows behind that belong to none
        (0, 0),
    ],
)
def test_values_and_gradients_are_those_of_ragged_dot(sizes):
    random = np.random.default_rng(0)
    x, weights, pull = (
        jnp.asarray(random.standard_normal(shape), jnp.float32) for shape in ((ROWS, 6), (len(sizes), 6, 5), (ROWS, 5))
    )
    pull *= (jnp.arange(ROWS) < sum(sizes))[:, None].astype(jnp.float32)

    def results(platform):
        @jax.jit
        def run(x, weights):
            groups = make_groups(jnp.asarray(sizes), ROWS)
            out, back = jax.vjp(lambda *y: grouped_product(*y, groups, platform=platform), x, weights)
            return out[: sum(sizes)], *back(pull)

        return run(x, weights)

    # Elsewhere than on CPU it is ragged_dot, which computes on CPU too, only slowly.
    for found, expected in zip(results("cpu"), results("gpu"), strict=True):
        np.testing.assert_allclose(found[: sum(sizes)], expected[: sum(sizes)], rtol=1e-5, atol=1e-5)


def test_no_block_is_computed_that_no_group_has():
    groups = make_groups(jnp.asarray((0, BLOCK + 1, 0, 3)), ROWS)
    used = int(groups.used)
    blocks = list(zip(*(x[:used].tolist() for x in (groups.group, groups.start, groups.end)), strict=True))
    assert blocks == [(1, 0, BLOCK), (1, BLOCK, BLOCK + 1), (3, BLOCK + 1, BLOCK + 4)]


@pytest.mark.parametrize("platform", ["cpu", "gpu"])
def test_sums_are_float32_and_have_the_precision_asked_for_also_in_the_gradient(platform):
    x, weights = jnp.ones((ROWS, 600), jnp.bfloat16), jnp.ones((1, 600, 2), jnp.bfloat16)
    groups = make_groups(jnp.asarray((ROWS,)), ROWS)

    def total(x, weights):
        out = grouped_product(x, weights, groups, platform=platform, precision="highest")
        return jnp.sum(out.astype(jnp.float32))

    assert float(total(x, weights)) == 600 * 2 * ROWS  # a bfloat16 sum would stop at 256
    found = precisions(jax.grad(total, argnums=(0, 1)), x, weights)
    assert set(found) <= {(jax.lax.Precision.HIGHEST, jax.lax.Precision.HIGHEST)}
