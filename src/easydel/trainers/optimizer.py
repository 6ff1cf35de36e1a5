"""Optimizers by name, composed from optax."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.typing import DTypeLike
from jaxtyping import Array, Int, PyTree

from easydel.trainers.adafactor import scale_by_adafactor
from easydel.trainers.moments import narrowed
from easydel.trainers.muon import scale_by_muon
from easydel.weights.table import Tensor

DEFAULTS: Mapping[str, dict[str, float]] = {
    "adamw": {"b1": 0.9, "b2": 0.999, "eps": 1e-8},
    "adafactor": {},
    "lion": {"b1": 0.9, "b2": 0.99},
    "rmsprop": {"b2": 0.99, "eps": 1e-8},
    "muon": {"b1": 0.9, "b2": 0.999, "eps": 1e-8},  # of what AdamW trains beside it
}
"""What an optimizer takes where a setting is not given."""


def make_optimizer(
    name: str,
    schedule: optax.Schedule,
    *,
    tensors: PyTree[Tensor],
    weight_decay: float = 0.0,
    clip_grad: float | None = None,
    beta1: float | None = None,
    beta2: float | None = None,
    epsilon: float | None = None,
    mu_dtype: DTypeLike = jnp.float32,
    nu_dtype: DTypeLike = jnp.float32,
) -> optax.GradientTransformation:
    """Returns the optimizer `name`, after clipping the gradient's global norm to `clip_grad`.

    Each is what torch or transformers has under its name, tensor by tensor of the file that the model came from, with
    one difference: weight decay is decoupled for all (Loshchilov & Hutter 2019), times the learning rate, and leaves
    norms and biases alone. Arithmetic is float32 whatever the dtype of the weights and of what is kept.

    Args:
        name: adamw, adafactor, lion, rmsprop or muon.
        tensors: like the weights, how the tensors of the file lie in each.
        beta1, beta2, epsilon: None is `DEFAULTS`; not every optimizer has each.
        mu_dtype: what first moments are kept in between two updates.
        nu_dtype: what second moments are kept in, see `narrowed`; adafactor's rows and columns are float32.
    """
    named = {"b1": beta1, "b2": beta2, "eps": epsilon}
    values = DEFAULTS[name] | {name: value for name, value in named.items() if value is not None}
    make: dict[str, Callable[[], optax.GradientTransformation]] = {
        "adamw": lambda: optax.scale_by_adam(values["b1"], values["b2"], values["eps"]),
        "lion": lambda: optax.scale_by_lion(values["b1"], values["b2"]),
        # optax's default has epsilon inside the root: a floor of 1e-4 under gradients that are far smaller.
        "rmsprop": lambda: optax.scale_by_rms(values["b2"], values["eps"], eps_in_sqrt=False),
        "adafactor": lambda: scale_by_adafactor(tensors),
        "muon": lambda: scale_by_muon(tensors, **values),
    }
    parts = [_clip(clip_grad)] if clip_grad is not None else []
    decay = [optax.add_decayed_weights(weight_decay, mask=is_decayed)] if weight_decay else []
    inner = optax.chain(*parts, make[name](), *decay, optax.scale_by_learning_rate(schedule))
    return _in_float32(inner, {"mu": jnp.dtype(mu_dtype), "nu": jnp.dtype(nu_dtype)})


def _clip(largest: float) -> optax.GradientTransformation:
    """Returns what scales gradients down to a global norm, as `torch.nn.utils.clip_grad_norm_` does."""

    def clip(updates: PyTree, params: PyTree | None) -> PyTree:
        del params
        scale = jnp.minimum(1.0, largest / (optax.tree.norm(updates) + 1e-6))
        return jax.tree.map(lambda g: g * scale, updates)

    return optax.stateless(clip)


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
        return narrowed(inner.init(widened(params)), kept, None)

    def update(updates: PyTree, state: optax.OptState, params: PyTree | None = None) -> tuple[PyTree, optax.OptState]:
        updates, state = inner.update(widened(updates), widened(state), widened(params))
        return updates, narrowed(state, kept, jax.random.fold_in(jax.random.key(0), _updates(state)))

    return optax.GradientTransformation(init, update)
