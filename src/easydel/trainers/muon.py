"""Muon (Jordan 2024): the momentum of each matrix made orthogonal, and AdamW for what is no matrix between activations.

    B = 0.95 B + 0.05 g          M = 0.95 B + 0.05 g (Nesterov)          U = 0.2 sqrt(longer side) NS(M)

NS is five steps of a Newton-Schulz iteration, after which all singular values are near 1. The factor before it makes an
update as large as AdamW's (Liu et al. 2025), so that one learning rate serves both kinds of weight. That is
`torch.optim.Muon(adjust_lr_fn="match_rms_adamw")`, in float32 where torch iterates in bfloat16.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple, cast

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PyTree

from easydel.weights.table import Tensor, nest, unnest

_MOMENTUM = 0.95
_STEPS, _COEFFICIENTS = 5, (3.4445, -4.7750, 2.0315)
_SHORTEST = 1e-7  # the norm that a momentum is taken to have at least
_RMS = 0.2


class MuonState(NamedTuple):
    """What is kept: the momentum of the matrices, and the moments of all else."""

    mu: PyTree[Float[Array, "..."]]
    others: optax.OptState


def scale_by_muon(tensors: PyTree[Tensor], *, b1: float, b2: float, eps: float) -> optax.GradientTransformation:
    """Returns what turns gradients into updates, uphill; `tensors` is nested as the weights are, the rest is AdamW's.

    A matrix is that of one layer and one expert, heads merged. Matrices that lie side by side in one tensor of the file
    are orthogonalised one by one, as Jordan has it for query, key and value.
    """
    known: dict[tuple[str, ...], Tensor] = unnest(tensors)
    adam = optax.scale_by_adam(b1, b2, eps)

    def parts(tree: PyTree) -> tuple[dict[tuple[str, ...], Array], PyTree]:
        arrays = unnest(tree)
        matrices = {path: x for path, x in arrays.items() if known[path].between_activations}
        return matrices, nest({path: x for path, x in arrays.items() if path not in matrices})

    def init(params: PyTree) -> MuonState:
        matrices, others = parts(params)
        return MuonState(nest({path: jnp.zeros_like(x) for path, x in matrices.items()}), adam.init(others))

    def update(updates: PyTree, state: Any, params: PyTree | None = None) -> tuple[PyTree, MuonState]:
        del params
        matrices, others = parts(updates)
        mu = {path: _mixed(old, matrices[path]) for path, old in unnest(state.mu).items()}
        ahead = {path: _mixed(mu[path], gradient) for path, gradient in matrices.items()}
        scaled, moments = adam.update(others, state.others)
        orthogonal = {path: _orthogonal(x, known[path]) for path, x in ahead.items()}
        return nest(orthogonal | unnest(cast(Mapping[str, Any], scaled))), MuonState(nest(mu), moments)

    return optax.GradientTransformation(init, update)


def _mixed(momentum: Array, gradient: Array) -> Array:
    return _MOMENTUM * momentum + (1.0 - _MOMENTUM) * gradient


def _orthogonal(x: Float[Array, "..."], tensor: Tensor) -> Float[Array, "..."]:
    """Returns each matrix in an array made nearly orthogonal, with the root mean square of an AdamW update."""
    sides = sorted(tensor.groups, key=lambda group: math.prod(x.shape[axis] for axis in group))  # the shorter first
    stacks = [axis for axis in range(x.ndim) if not any(axis in group for group in sides)]
    order = [*stacks, *sides[0], *sides[1]]
    lengths = [math.prod(x.shape[axis] for axis in group) for group in sides]
    matrices = x.transpose(order).reshape(*(x.shape[axis] for axis in stacks), *lengths)
    found = _newton_schulz(matrices) * (_RMS * math.sqrt(lengths[1]))
    return found.reshape([x.shape[axis] for axis in order]).transpose([order.index(axis) for axis in range(x.ndim)])


def _newton_schulz(x: Float[Array, "... short long"]) -> Float[Array, "... short long"]:
    a, b, c = _COEFFICIENTS
    x = x / jnp.maximum(jnp.linalg.norm(x, axis=(-2, -1), keepdims=True), _SHORTEST)
    for _ in range(_STEPS):
        gram = x @ jnp.matrix_transpose(x)
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x
