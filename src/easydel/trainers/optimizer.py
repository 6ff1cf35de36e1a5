"""Optimizers and learning-rate schedules by name, composed from optax."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import PyTree

MatrixAxes = tuple[tuple[int, ...], tuple[int, ...]]
"""Of a weight that multiplies activations: its axes that are summed over, and those it produces; others are layers."""


def make_schedule(
    scheduler: str,
    *,
    learning_rate: float,
    learning_rate_end: float | None,
    warmup_steps: int,
    total_steps: int,
) -> optax.Schedule:
    """Returns the learning rate as a function of the number of updates done.

    It rises linearly from 0 over `warmup_steps` (the first update already moves the weights), then stays ("none",
    "constant") or falls to `learning_rate_end` at update `total_steps` along a line ("linear") or half a cosine.

    >>> rate = make_schedule("linear", learning_rate=1.0, learning_rate_end=None, warmup_steps=2, total_steps=6)
    >>> [round(float(rate(step)), 3) for step in range(7)]
    [0.5, 1.0, 1.0, 0.75, 0.5, 0.25, 0.0]
    """
    end = 0.0 if learning_rate_end is None else learning_rate_end
    fall = max(total_steps - warmup_steps, 1)

    def schedule(count: Any) -> jax.Array:
        warm = jnp.minimum((count + 1.0) / max(warmup_steps, 1), 1.0)
        done = jnp.clip((count - warmup_steps) / fall, 0.0, 1.0)
        if scheduler == "linear":
            after = learning_rate + (end - learning_rate) * done
        elif scheduler == "cosine":
            after = end + (learning_rate - end) * 0.5 * (1.0 + jnp.cos(jnp.pi * done))
        else:
            after = jnp.asarray(learning_rate)
        return jnp.where(count < warmup_steps, learning_rate * warm, after)

    return schedule


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
) -> optax.GradientTransformation:
    """Returns the optimizer `name`, after clipping the gradient's global norm to `clip_grad`.

    Weight decay is decoupled (Loshchilov & Hutter 2019), times the learning rate, and leaves norms and biases alone.
    Moments are float32 whatever the dtype of the weights. Muon (Jordan 2024) orthogonalises the updates of the
    matrices that `matrix_axes` describes, each layer on its own; embeddings and vectors get AdamW with the Nesterov
    momentum (Dozat 2016) that the matrices have too.

    Args:
        name: adamw, adafactor, lion, rmsprop or muon.
        matrix_axes: like the weights, with None for what is not a matrix between activations.
        beta1, beta2, epsilon: None is the default of the optimizer's paper; not every optimizer has each.
    """
    named = {"b1": beta1, "b2": beta2, "eps": epsilon}
    given: dict[str, Any] = {name: value for name, value in named.items() if value is not None}
    make: dict[str, Callable[[], optax.GradientTransformation]] = {
        "adamw": lambda: optax.scale_by_adam(**given),
        "lion": lambda: optax.scale_by_lion(given.get("b1", 0.9), given.get("b2", 0.99)),
        "rmsprop": lambda: optax.scale_by_rms(decay=given.get("b2", 0.99), eps=given.get("eps", 1e-8)),
        # No relative step size: the learning rate means what it means for the others.
        "adafactor": lambda: optax.chain(
            optax.scale_by_factored_rms(min_dim_size_to_factor=32), optax.clip_by_block_rms(1.0)
        ),
        "muon": lambda: _muon(matrix_axes, given),
    }
    parts = [optax.clip_by_global_norm(clip_grad)] if clip_grad is not None else []
    decay = [optax.add_decayed_weights(weight_decay, mask=is_decayed)] if weight_decay else []
    return _in_float32(optax.chain(*parts, make[name](), *decay, optax.scale_by_learning_rate(schedule)))


def updates_done(opt_state: optax.OptState) -> int:
    """Returns the updates an optimizer of `make_optimizer` has applied: where its schedule stands.

    A step that was skipped because its gradient was not finite is none of them.
    """

    def of_schedule(path: tuple, value: Any) -> bool:
        return any(getattr(key, "tuple_name", "") == "ScaleByScheduleState" for key in path)

    return int(optax.tree.get(opt_state, "count", filtering=of_schedule))


def is_decayed(params: PyTree) -> PyTree[bool]:
    """Returns which weights decay: all but norms and biases."""

    def decayed(path: tuple, leaf: jax.Array) -> bool:
        names = [str(key.key) for key in path]
        return names[-1] != "bias" and not any("norm" in name for name in names)

    return jax.tree_util.tree_map_with_path(decayed, params)


def _in_float32(inner: optax.GradientTransformation) -> optax.GradientTransformation:
    """Returns `inner` seeing float32 weights and gradients: optax keeps second moments in the weights' dtype."""

    def widened(tree: PyTree) -> PyTree:
        return jax.tree.map(lambda x: x.astype(jnp.float32), tree)

    def init(params: PyTree) -> optax.OptState:
        return inner.init(widened(params))

    def update(updates: PyTree, state: optax.OptState, params: PyTree | None = None) -> tuple[PyTree, optax.OptState]:
        return inner.update(widened(updates), state, widened(params))

    return optax.GradientTransformation(init, update)


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
