"""In what dtype the moments of an optimizer are kept in between two updates."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key


def cast_moments(
    state: optax.OptState, kept: Mapping[str, jnp.dtype[Any]], key: Key[Array, ""] | None
) -> optax.OptState:
    """Returns the state with the moments called `mu` and `nu` in the dtypes given.

    A first moment is rounded to the nearest number. A second one changes by a thousandth of itself in an update
    (1 - beta2), which is less than half of bfloat16's steps of 1/256 to 1/128: to the nearest it would stand still. So
    it is rounded up or down at random, by how near each is, and its expectation is exact (stochastic rounding, Gupta et
    al. 2015, https://arxiv.org/abs/1502.02551, section 3.1). The `key` depends on the number
    of updates alone, so that a run that is continued draws the same; None rounds all to the nearest.
    """
    leaves, structure = jax.tree.flatten_with_path(state)

    def narrow(place: int, path: tuple, leaf: jax.Array) -> jax.Array:
        fields = [part.name for part in path if isinstance(part, jax.tree_util.GetAttrKey)]
        name = next((field for field in fields if field in kept), None)
        if name is None or kept[name] == leaf.dtype:
            return leaf
        if name == "mu" or key is None:
            return leaf.astype(kept[name])
        return _at_random(leaf, jax.random.fold_in(key, place))

    return jax.tree.unflatten(structure, [narrow(at, path, leaf) for at, (path, leaf) in enumerate(leaves)])


def _at_random(x: Float[Array, "..."], key: Key[Array, ""]) -> Float[Array, "..."]:
    """Returns bfloat16 numbers, each one of the two nearest to a float32 one, whose expectation is that number.

    A bfloat16 number is the upper half of a float32: adding a random lower half carries as often as it should.
    """
    noise = jax.random.bits(key, x.shape, jnp.uint16).astype(jnp.uint32)
    upper = ((jax.lax.bitcast_convert_type(x, jnp.uint32) + noise) >> 16).astype(jnp.uint16)
    rounded = jax.lax.bitcast_convert_type(upper, jnp.bfloat16)
    return jnp.where(jnp.isfinite(x), rounded, x.astype(jnp.bfloat16))
