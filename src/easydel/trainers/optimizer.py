"""Optimizers by name, composed from optax."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import DTypeLike
from jaxtyping import Array, Int, PyTree

from easydel.models.causal_lm import CausalLM
from easydel.models.rows import tensors
from easydel.trainers.adafactor import scale_by_adafactor
from easydel.trainers.config import DPOConfig
from easydel.trainers.intervals import Intervals
from easydel.trainers.moment_dtypes import cast_moments
from easydel.trainers.muon import scale_by_muon
from easydel.trainers.options.schedules import end_of
from easydel.trainers.schedule import ScheduleShape, make_schedule
from easydel.trainers.trainable import ALL_TRAINED, Partition
from easydel.weights.table import Tensor

DEFAULTS: Mapping[str, dict[str, float]] = {
    "adamw": {"b1": 0.9, "b2": 0.999, "eps": 1e-8},
    "adafactor": {},
    "lion": {"b1": 0.9, "b2": 0.99},
    "rmsprop": {"b2": 0.99, "eps": 1e-8},
    "muon": {"b1": 0.9, "b2": 0.999, "eps": 1e-8},  # of what AdamW trains beside it
}
"""What an optimizer takes where a setting is not given."""


def schedule_of(config: DPOConfig, intervals: Intervals) -> optax.Schedule:
    """Returns the learning rate that the settings describe, by updates done."""
    given = config.lr_scheduler_kwargs or {}
    shape = ScheduleShape(
        total_steps=intervals.total_steps,
        warmup_steps=intervals.warmup_steps,
        end=end_of(config) / config.learning_rate,
        stable_steps=intervals.stable_steps,
        decay_steps=intervals.decay_steps,
    )
    shape = shape._replace(**{name: value for name, value in given.items() if name in ScheduleShape._fields})
    return make_schedule(config.scheduler, learning_rate=config.learning_rate, shape=shape)


def optimizer_of(
    config: DPOConfig,
    schedule: optax.Schedule,
    model: CausalLM,
    partition: Partition = ALL_TRAINED,
    own: optax.GradientTransformation | None = None,
) -> optax.GradientTransformation:
    """Returns the user's `own` optimizer, or that which the settings describe, for the trained weights of a model."""
    if own is not None:
        return counted(own)
    return make_optimizer(
        config.optimizer,
        schedule,
        tensors=partition.trained_entries(tensors(model.rows)),
        weight_decay=config.weight_decay,
        clip_grad=config.clip_grad,
        beta1=config.adam_beta1,
        beta2=config.adam_beta2,
        epsilon=config.adam_epsilon,
        mu_dtype=config.mu_dtype,
        nu_dtype=config.nu_dtype,
    )


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
        nu_dtype: what second moments are kept in, see `cast_moments`; adafactor's rows and columns are float32.
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


class Counted(NamedTuple):
    """The state of an optimizer of the user's, and how many updates it has made."""

    updates: Int[Array, ""]
    inner: optax.OptState


def counted(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    """Returns an optimizer of the user's with float32 weights and gradients to see, whose updates are counted."""

    def init(params: PyTree) -> Counted:
        return Counted(jnp.zeros((), jnp.int32), optimizer.init(_widened(params)))

    def update(updates: PyTree, state: Any, params: PyTree | None = None) -> tuple[PyTree, Counted]:
        updates, inner = optimizer.update(_widened(updates), state.inner, _widened(params))
        return updates, Counted(state.updates + 1, inner)

    return optax.GradientTransformation(init, update)


def updates_done(opt_state: optax.OptState) -> int:
    """Returns the updates an optimizer of `optimizer_of` has applied: where its schedule stands.

    A step that was skipped because its gradient was not finite is none of them.
    """

    return int(_updates(opt_state))


def _updates(opt_state: optax.OptState) -> Int[Array, ""]:
    if isinstance(opt_state, Counted):
        return opt_state.updates

    def of_schedule(path: tuple, value: Any) -> bool:
        return any(getattr(key, "tuple_name", "") == "ScaleByScheduleState" for key in path)

    return optax.tree.get(opt_state, "count", filtering=of_schedule)


def is_decayed(params: PyTree) -> PyTree[bool]:
    """Returns which weights decay: all but norms and biases."""

    def decayed(path: tuple, leaf: jax.Array) -> bool:
        names = [str(key.key) for key in path]
        return names[-1] != "bias" and not any("norm" in name for name in names)

    return jax.tree_util.tree_map_with_path(decayed, params)


def _widened(tree: PyTree) -> PyTree:
    return jax.tree.map(lambda x: x.astype(jnp.float32) if jnp.issubdtype(x.dtype, jnp.floating) else x, tree)


def _in_float32(
    inner: optax.GradientTransformation, kept: Mapping[str, jnp.dtype[Any]]
) -> optax.GradientTransformation:
    """Returns `inner` seeing float32 weights, gradients and moments, which are kept in the dtypes of their names.

    optax would keep second moments in the weights' dtype.
    """

    def init(params: PyTree) -> optax.OptState:
        return cast_moments(inner.init(_widened(params)), kept, None)

    def update(updates: PyTree, state: optax.OptState, params: PyTree | None = None) -> tuple[PyTree, optax.OptState]:
        updates, state = inner.update(_widened(updates), _widened(state), _widened(params))
        return updates, cast_moments(state, kept, jax.random.fold_in(jax.random.key(0), _updates(state)))

    return optax.GradientTransformation(init, update)
