"""Attention by jax's own function: it is what is called, and precision reaches it."""

import jax
import jax.numpy as jnp
import numpy as np

from easydel.ops.attention import packed_attention
from easydel.sharding import make_mesh
from oracles.products import precisions
from oracles.tiny import ONE_DEVICE


def test_it_is_jax_dot_product_attention_with_a_mask_for_each_query(monkeypatch):
    asked = []
    real = jax.nn.dot_product_attention

    def watched(query, key, value, **options):
        asked.append(options)
        return real(query, key, value, **options)

    monkeypatch.setattr(jax.nn, "dot_product_attention", watched)
    ones = jnp.ones((2, 6), jnp.int32)
    place = jnp.broadcast_to(jnp.arange(6), (2, 6))
    attention = packed_attention("sdpa", ones, 0 * ones, place, scale=0.5, mesh=make_mesh(ONE_DEVICE), window=2)
    attention(*(jnp.ones((2, 6, 2, 4)) for _ in range(3)), None)
    assert [each["scale"] for each in asked] == [0.5]
    expected = np.tril(np.ones((6, 6), bool)) & ~np.tril(np.ones((6, 6), bool), -2)
    np.testing.assert_array_equal(asked[0]["mask"][0, 0], expected)


def test_the_precision_of_products_holds_in_the_backward_pass_too():
    ones = jnp.ones((1, 6), jnp.int32)
    attention = packed_attention(
        "sdpa", ones, 0 * ones, jnp.arange(6)[None], scale=0.5, mesh=make_mesh(ONE_DEVICE), precision="highest"
    )

    def total(*arguments):
        return jnp.sum(attention(*arguments, None))

    found = precisions(jax.grad(total, argnums=(0, 1, 2)), *(jnp.ones((1, 6, 2, 4)) for _ in range(3)))
    assert set(found) == {(jax.lax.Precision.HIGHEST, jax.lax.Precision.HIGHEST)}
