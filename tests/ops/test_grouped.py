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
@pytest.mark.parametrize("platform", ["cpu", "gpu", "tpu"])
def test_values_and_gradients_are_those_of_ragged_dot(sizes, platform):
    random = np.random.default_rng(0)
    x, weights, pull = (
        jnp.asarray(random.standard_normal(shape), jnp.float32)
        for shape in ((ROWS, 136), (len(sizes), 136, 70), (ROWS, 70))
    )
    pull *= (jnp.arange(ROWS) < sum(sizes))[:, None].astype(jnp.float32)

    def results(product):
        out, back = jax.vjp(product, x, weights)
        return [np.asarray(each) for each in (out[: sum(sizes)], *back(pull))]

    groups = make_groups(jnp.asarray(sizes), ROWS)
    ours = jax.jit(lambda *given: grouped_product(*given, groups, platform=platform, interpret=platform != "cpu"))
    with jax.numpy_dtype_promotion("standard"):  # which jax's own kernel needs
        found = results(ours)
    expected = results(jax.jit(lambda *given: jax.lax.ragged_dot(*given, jnp.asarray(sizes))))
    for mine, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=2e-5)


def test_with_64_experts_hardly_more_is_computed_than_tokens_were_sent_there_for():
    """Rows of the products of 4 x 2048 tokens with 8 experts each, drawn at random: in blocks, and in tiles on TPU."""
    sizes = np.bincount(np.random.default_rng(0).integers(0, 64, 4 * 2048 * 8), minlength=64)
    rows = sizes.sum()
    assert int(make_groups(jnp.asarray(sizes), int(rows)).used) * BLOCK <= 1.05 * rows
    ends = np.cumsum(sizes)
    tiles = (-(-ends // 128) - (ends - sizes) // 128).sum()  # those that a group has rows in
    assert tiles * 128 <= 1.15 * rows


@pytest.mark.parametrize("platform", ["gpu", "tpu"])
def test_no_gradient_by_the_matrices_is_left_to_a_dense_product(platform):
    x, weights = jax.ShapeDtypeStruct((ROWS, 32), jnp.bfloat16), jax.ShapeDtypeStruct((8, 32, 16), jnp.bfloat16)

    def gradient(x, weights):
        groups = make_groups(jnp.full(8, ROWS // 8), ROWS)

        def total(x, weights):
            return jnp.sum(grouped_product(x, weights, groups, platform=platform).astype(jnp.float32))

        return jax.grad(total, argnums=(0, 1))(x, weights)

    with jax.numpy_dtype_promotion("standard"):
        text = str(jax.make_jaxpr(gradient)(x, weights))
    kernels, ragged = {"gpu": (3, 0), "tpu": (1, 2)}[platform]  # XLA has one of its own for those by rows on TPU
    assert (text.count("pallas_call["), text.count("ragged_dot_general[")) == (kernels, ragged)


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
        interpret = platform != "cpu"
        out = grouped_product(x, weights, groups, platform=platform, precision="highest", interpret=interpret)
        return jnp.sum(out.astype(jnp.float32))

    assert float(total(x, weights)) == 600 * 2 * ROWS  # a bfloat16 sum would stop at 256
    found = precisions(jax.grad(total, argnums=(0, 1)), x, weights)
    assert set(found) <= {(jax.lax.Precision.HIGHEST, jax.lax.Precision.HIGHEST)}
