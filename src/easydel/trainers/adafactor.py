"""Adafactor (Shazeer & Stern 2018) without its own learning rate, each tensor of the model's file on its own.

Of a matrix it keeps, in place of a second moment for each weight, the means of its rows and of its columns,

    R = mean of g^2 + 1e-30 over the columns          V = R C / mean of R
    C = mean of g^2 + 1e-30 over the rows             U = g / sqrt(V)

both as running means that forget a share of t^-0.8 at update t; of a vector it keeps V itself. An update whose root
mean square is above 1 is scaled down to 1. That is what the Trainer of `transformers` takes for `optim="adafactor"`,
Adafactor(scale_parameter=False, relative_step=False): a learning rate means what it means for the others.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PyTree

from easydel.weights.table import Tensor, nest, unnest

_SMALLEST = 1e-30  # added to squares
_FORGETS = -0.8  # the power of the number of the update that is the share of new squares in a mean
_LARGEST = 1.0  # root mean square of an update

Path = tuple[str, ...]
_Means = dict[str, Float[Array, "..."]]  # of one array: rows and columns, or whole


class AdafactorState(NamedTuple):
    """What is kept, nested as the weights are. What is summed over has size 1, and lies where its weight lies.

    Attributes:
        step: the number of updates.
        rows, columns: of matrices. Where several arrays lie side by side in one, each has the mean over its own rows.
        whole: of all else.
    """

    step: Int[Array, ""]
    rows: PyTree[Float[Array, "..."]]
    columns: PyTree[Float[Array, "..."]]
    whole: PyTree[Float[Array, "..."]]


def scale_by_adafactor(tensors: PyTree[Tensor]) -> optax.GradientTransformation:
    """Returns what turns gradients into updates of about the size of 1, uphill; `tensors` is nested as the weights are.

    A tensor is what has one name in the file: the matrix of one layer and one expert, heads merged. Arrays that lie
    side by side in it, as query, key and value of Phi do, are one matrix, with one mean for each column.
    """
    known: dict[Path, Tensor] = unnest(tensors)
    groups: dict[str, list[Path]] = {}
    for path, tensor in known.items():
        groups.setdefault(tensor.name, []).append(path)

    def init(params: PyTree) -> AdafactorState:
        squares = {path: _squares(known[path], jnp.zeros_like(x, jnp.float32)) for path, x in unnest(params).items()}
        return _state(jnp.zeros((), jnp.int32), jax.tree.map(jnp.zeros_like, squares))

    def update(updates: PyTree, state: Any, params: PyTree | None = None) -> tuple[PyTree, AdafactorState]:
        del params
        step = jnp.asarray(optax.safe_increment(state.step))
        share = step.astype(jnp.float32) ** _FORGETS
        gradients = unnest(updates)
        kept = _kept(state)
        for path, gradient in gradients.items():
            for name, new in _squares(known[path], gradient).items():
                kept[path][name] = (1.0 - share) * kept[path][name] + share * new
        scaled: dict[Path, Array] = {}
        for paths in groups.values():
            parts = [_Part(known[path], gradients[path], kept[path]) for path in paths]
            scaled |= zip(paths, _scaled(parts), strict=True)
        return nest(scaled), _state(step, kept)

    return optax.GradientTransformation(init, update)


class _Part(NamedTuple):
    """One of the arrays that lie side by side in a tensor."""

    tensor: Tensor
    gradient: Float[Array, "..."]
    kept: _Means

    @property
    def rows(self) -> tuple[int, ...]:
        return self.tensor.groups[0]

    @property
    def axes(self) -> tuple[int, ...]:
        return tuple(axis for group in self.tensor.groups for axis in group)


def _squares(tensor: Tensor, gradient: Float[Array, "..."]) -> _Means:
    squares = jnp.square(gradient) + _SMALLEST
    if len(tensor.groups) != 2:
        return {"whole": squares}
    rows, columns = tensor.groups
    return {"rows": jnp.mean(squares, columns, keepdims=True), "columns": jnp.mean(squares, rows, keepdims=True)}


def _scaled(parts: Sequence[_Part]) -> list[Float[Array, "..."]]:
    """Returns the updates of all arrays of one tensor, in their order."""
    if len(parts[0].tensor.groups) == 2:
        means = _of_tensor([(part, part.rows, jnp.mean(part.kept["rows"], part.rows, keepdims=True)) for part in parts])
        columns = _of_tensor([(part, part.rows, part.kept["columns"]) for part in parts])
        updates = [
            part.gradient * jax.lax.rsqrt(part.kept["rows"] / mean) * jax.lax.rsqrt(column)
            for part, mean, column in zip(parts, means, columns, strict=True)
        ]
    else:
        updates = [part.gradient * jax.lax.rsqrt(part.kept["whole"]) for part in parts]
    squares = [jnp.mean(jnp.square(x), part.axes, keepdims=True) for part, x in zip(parts, updates, strict=True)]
    squares = _of_tensor([(part, part.axes, square) for part, square in zip(parts, squares, strict=True)])
    return [x / jnp.maximum(jnp.sqrt(square) / _LARGEST, 1.0) for x, square in zip(updates, squares, strict=True)]


def _of_tensor(means: Sequence[tuple[_Part, tuple[int, ...], Array]]) -> list[Array]:
    """Returns the mean over the axes given of all parts, in the shape of each, from that of each part."""
    if len(means) == 1:
        return [means[0][2]]
    rows = [math.prod(part.gradient.shape[axis] for axis in part.rows) for part, _, _ in means]
    mean = sum(count / sum(rows) * jnp.squeeze(x, axes) for count, (_, axes, x) in zip(rows, means, strict=True))
    return [jnp.expand_dims(mean, axes) for _, axes, _ in means]


def _state(step: Int[Array, ""], kept: Mapping[Path, _Means]) -> AdafactorState:
    def named(name: str) -> PyTree:
        return nest({path: means[name] for path, means in kept.items() if name in means})

    return AdafactorState(step, named("rows"), named("columns"), named("whole"))


def _kept(state: AdafactorState) -> dict[Path, _Means]:
    kept: dict[Path, _Means] = {}
    for name, tree in (("rows", state.rows), ("columns", state.columns), ("whole", state.whole)):
        for path, mean in unnest(tree).items():
            kept.setdefault(path, {})[name] = mean
    return kept
