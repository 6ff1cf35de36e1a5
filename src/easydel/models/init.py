"""Random weights."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jax.typing import DTypeLike
from jaxtyping import Array, Key

from easydel.models.config import ModelConfig
from easydel.models.rows import axis_sizes, weight_rows
from easydel.weights.load import shardings_of
from easydel.weights.table import Row, Sizes, nest

Draw = Callable[[Key[Array, ""], tuple[int, ...]], Array]  # (key, shape) -> random numbers


def init_params(config: ModelConfig, key: Key[Array, ""], *, dtype: DTypeLike, mesh: Mesh) -> dict[str, Any]:
    """Returns fresh parameters: normal(0, initializer_range), norms one, biases zero."""

    def draw(key: Key[Array, ""], shape: tuple[int, ...]) -> jax.Array:
        return jax.random.normal(key, shape, jnp.float32) * config.initializer_range

    return fresh_arrays(weight_rows(config), axis_sizes(config), key, draw, dtype=dtype, mesh=mesh)


def fresh_arrays(
    rows: Sequence[Row], sizes: Sizes, key: Key[Array, ""], draw: Draw, *, dtype: DTypeLike, mesh: Mesh
) -> dict[str, Any]:
    """Returns new arrays for the rows of a table, nested, each made where it lies: by `draw`, ones, or zeros."""

    def make(row: Row, row_key: Key[Array, ""]) -> jax.Array:
        shape = row.shape(sizes)
        if row.start != "normal":
            return jnp.full(shape, float(row.start == "ones"), row.dtype or dtype)
        return draw(row_key, shape).astype(dtype)

    def make_all(key: Key[Array, ""]) -> dict[str, Any]:
        keys = jax.random.split(key, len(rows))
        return nest({row.path: make(row, row_key) for row, row_key in zip(rows, keys, strict=True)})

    return jax.jit(make_all, out_shardings=shardings_of(rows, sizes, mesh))(key)
