"""Optimizers by name, composed from optax."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, Key, PyTree

MatrixAxes = tuple[tuple[int, ...], tuple[int, ...]]
"""Of a weight that multiplies activations: its axes that are summed over, and those it produces; others are layers."""


def make_optimizer(
    name: str,
    schedule: optax.Schedule,
    *,
    matrix_axes: PyTree[MatrixAxes | None],
    weight_decay: float = 0.0,
    clip_grad: float | None = None,
    beta1: float | None = None,
    beta2: float | None = None,
    epsilon: float | None = None,
    mu_dtype: DTypeLike = jnp.float32,
    nu_dtype: DTypeLike = jnp.float32,
) -> optax.GradientTransformation:
    """Returns the optimizer `name`, after clipping the gradient's global norm to `clip_grad`.

    Weight decay is decoupled (Loshchilov & Hutter 2019), times the learning rate, and leaves norms and biases alone.
    Arithmetic is float32 whatever the dtype of the weights and of what is kept. Muon (Jordan 2024) orthogonalises the
    updates of the matrices that `matrix_axes` describes, each layer on its own; embeddings and vectors get AdamW with
    the Nesterov momentum (Dozat 2016) that the matrices have too.

    Args:
        name: adamw, adafactor, lion, rmsprop or muon.
        matrix_axes: like the weights, with None for what is not a matrix between activations.
        beta1, beta2, epsilon: None is the default of the optimizer's paper; not every optimizer has each.
        mu_dtype: what first moments are kept in between two updates.
        nu_dtype: what second moments are kept in, see `_narrowed`; adafactor's rows and columns are float32.
    """
    named = {"b1": beta1, "b2": beta2, "eps": epsilon}
    given: dict[str, Any] = {name: value for name, value in named.items() if value is not None}
    make: dict[str, Callable[[], optax.GradientTransformation]] = {
        "adamw": lambda: optax.scale_by_adam(**given),
        "lion": lambda: optax.scale_by_lion(given.get("b1", 0.9), given.get("b2", 0.99)),
        # optax's default has epsilon inside the root: a floor of 1e-4 under gradients that are far smaller.
        "rmsprop": lambda: optax.scale_by_rms(given.get("b2", 0.99), given.get("eps", 1e-8), eps_in_sqrt=False),
        # No relative step size: the learning rate means what it means for the others.
        "adafactor": lambda: optax.chain(
            optax.scale_by_factored_rms(min_dim_size_to_factor=32), optax.clip_by_block_rms(1.0)
        ),
        "muon": lambda: _muon(matrix_axes, given),
    }
    parts = [optax.clip_by_global_norm(clip_grad)] if clip_grad is not None else []
    decay = [optax.add_decayed_weights(weight_decay, mask=is_decayed)] if weight_decay else []
    inner = optax.chain(*parts, make[name](), *decay, optax.scale_by_learning_rate(schedule))
    return _in_float32(inner, {"mu": jnp.dtype(mu_dtype), "nu": jnp.dtype(nu_dtype)})


def updates_done(opt_state: optax.OptState) -> int:
    """Returns the updates an optimizer of `make_optimizer` has applied: where its schedule stands.

    A step that was skipped because its gradient was not finite is none of them.
    """

    return int(_updates(opt_state))


def _updates(opt_state: optax.OptState) -> Int[Array, ""]:
    def of_schedule(path: tuple, value: Any) -> bool:
        return any(getattr(key, "tuple_name", "") == "ScaleByScheduleState" for key in path)

    return optax.tree.get(opt_state, "count", filtering=of_schedule)


def is_decayed(params: PyTree) -> PyTree[bool]:
    """Returns which weights decay: all but norms and biases."""

    def decayed(path: tuple, leaf: jax.Array) -> bool:
        names = [str(key.key) for key in path]
        return names[-1] != "bias" and not any("norm" in name for name in names)

    return jax.tree_util.tree_map_with_path(decayed, params)


def _in_float32(
    inner: optax.GradientTransformation, kept: Mapping[str, jnp.dtype[Any]]
) -> optax.GradientTransformation:
    """Returns `inner` seeing float32 weights, gradients and moments, which are kept in the dtypes of their names.

    optax would keep second moments in the weights' dtype.
    """

    def widened(tree: PyTree) -> PyTree:
        return jax.tree.map(lambda x: x.astype(jnp.float32) if jnp.issubdtype(x.dtype, jnp.floating) else x, tree)

    def init(params: PyTree) -> optax.OptState:
        return _narrowed(inner.init(widened(params)), kept, None)

    def update(updates: PyTree, state: optax.OptState, params: PyTree | None = None) -> tuple[PyTree, optax.OptState]:
        updates, state = inner.update(widened(updates), widened(state), widened(params))
        return updates, _narrowed(state, kept, jax.random.fold_in(jax.random.key(0), _updates(state)))

    return optax.GradientTransformation(init, update)


def _narrowed(state: optax.OptState, kept: Mapping[str, jnp.dtype[Any]], key: Key[Array, ""] | None) -> optax.OptState:
    """Returns the state with the moments called `mu` and `nu` in the dtypes given.

    A first moment is rounded to the nearest number. A second one changes by a thousandth of itself in an update
    (1 - beta2), which is less than half of bfloat16's steps of 1/256 to 1/128: to the nearest it would stand still. So
    it is rounded up or down at random, by how near each is: its expectation is exact. The `key` depends on the number
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


def _muon(matrix_axes: PyTree[MatrixAxes | None], given: dict[str, Any]) -> optax.GradientTransformation:
    def dimensions(axes: MatrixAxes | None) -> optax.contrib.MuonDimensionNumbers | None:
        return None if axes is None else optax.contrib.MuonDimensionNumbers(*axes)

    muon = optax.contrib.muon(
        learning_rate=1.0,
        muon_weight_dimension_numbers=jax.tree.map(
            dimensions, matrix_axes, is_leaf=lambda leaf: leaf is None or isinstance(leaf, tuple)
        ),
        # Makes an update as large as AdamW's (Liu et al. 2025), so that one learning rate serves both kinds of weight.
        consistent_rms=0.2,
        adam_b1=given.get("b1", 0.9),
        adam_b2=given.get("b2", 0.999),
    )
    # optax hands back a step downhill; the decay and the schedule are applied here as for every other optimizer.
    return optax.chain(muon, optax.scale(-1.0))
