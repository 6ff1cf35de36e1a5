"""The training state: one value, which a step takes and returns, a mesh shards and a checkpoint stores."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int, Key, PyTree


class RewardMean(NamedTuple):
    """The mean reward of all completions trained on so far, which `bco_pair` may shift by.

    It is the reward shift delta of BCO (Jung et al. 2024, https://arxiv.org/abs/2404.04656): half the sum of the mean
    chosen and the mean rejected reward, in nats times beta.
    """

    mean: Float[Array, ""]
    pairs: Float[Array, ""]


class TrainState(NamedTuple):
    """Everything that changes while training, apart from the reference when it is synced; frozen weights do not."""

    step: Int[Array, ""]  # optimizer updates done
    params: PyTree[Float[Array, "..."]]  # the trained weights alone, float32 masters by default; see `trainable`
    opt_state: optax.OptState
    key: Key[Array, ""]  # never changes: step t uses fold_in(key, t), so a resumed run draws the same numbers
    rewards: RewardMean


def initial_state(params: PyTree, optimizer: optax.GradientTransformation, seed: int, mesh: Mesh) -> TrainState:
    """Returns the state before the first update, which owns `params`: a step consumes the state it is given.

    Everything is made where it lies: `device_put` would reach the devices of this process only.
    """
    places = shardings(abstract_state(params, optimizer, mesh))
    opt_state = jax.jit(optimizer.init, out_shardings=places.opt_state)(params)
    begin = jax.jit(_begun, static_argnums=0, out_shardings=(places.step, places.key, places.rewards))
    step, key, rewards = begin(seed)
    return TrainState(step, params, opt_state, key, rewards)


def abstract_state(params: PyTree, optimizer: optax.GradientTransformation, mesh: Mesh) -> TrainState:
    """Returns shape, dtype and place of each array of a state of these weights, which may be abstract themselves.

    A moment lies where its weight lies; what has no weight of its shape is on every device.
    """
    moments = jax.eval_shape(optimizer.init, params)
    whole = NamedSharding(mesh, PartitionSpec())
    step, key, rewards = jax.tree.map(lambda x: x.update(sharding=whole), jax.eval_shape(lambda: _begun(0)))
    placed = jax.tree.map(lambda x, place: x.update(sharding=place), moments, _like_params(moments, params, mesh))
    return TrainState(step, abstract(params), placed, key, rewards)


def _begun(seed: int) -> tuple[Array, Array, RewardMean]:
    return jnp.zeros((), jnp.int32), jax.random.key(seed), RewardMean(jnp.zeros(()), jnp.zeros(()))


def with_rewards(so_far: RewardMean, sums: Mapping[str, Float[Array, ""]]) -> RewardMean:
    """Returns the mean with the pairs of one more step in it, from the sums that `metrics.pair_sums` gives.

    By Welford's update (1962), a batch at a time: mean += (batch sum - batch pairs * mean) / all pairs.
    """
    pairs = so_far.pairs + sums["pairs"]
    new = 0.5 * (sums["rewards/chosen"] + sums["rewards/rejected"]) - sums["pairs"] * so_far.mean
    return RewardMean(so_far.mean + new / jnp.maximum(pairs, 1.0), pairs)


def is_whole(state: TrainState) -> bool:
    """Returns whether a state can be saved: a step that failed while it ran has taken its buffers, once it is over.

    Raises:
        Exception: what went wrong on the device where the state was being made.
    """
    leaves = jax.tree.leaves(state)
    return not any(leaf.is_deleted() for leaf in leaves) and bool(jax.block_until_ready(leaves))


def shardings(state: TrainState) -> TrainState:
    """Returns where each array of a state lies: what a step must give back to be compiled once."""
    return jax.tree.map(lambda x: x.sharding, state)


def abstract(tree: PyTree) -> Any:
    """Returns shape, dtype and sharding of each array in a tree: what to compile for, or to read into."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), tree)


def _like_params(tree: PyTree, params: PyTree, mesh: Mesh) -> PyTree[NamedSharding]:
    """Returns for each array the sharding of the weight whose path its own ends with, if they have one shape.

    An axis that was summed over has size 1 and is not split, the others are.
    """
    known = {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree.leaves_with_path(params)}
    whole = NamedSharding(mesh, PartitionSpec())

    def sharding(path: tuple, leaf: jax.ShapeDtypeStruct) -> jax.sharding.Sharding:
        for start in range(len(path)):
            weight = known.get(jax.tree_util.keystr(path[start:]))
            if weight is not None and weight.shape == leaf.shape:
                return weight.sharding
            if weight is not None and _is_summed(leaf.shape, weight.shape):
                return _kept_axes(leaf.shape, weight) or whole
        return whole

    return jax.tree_util.tree_map_with_path(sharding, tree)


def _is_summed(shape: tuple[int, ...], of: tuple[int, ...]) -> bool:
    return len(shape) == len(of) and all(size in (1, other) for size, other in zip(shape, of, strict=True))


def _kept_axes(shape: tuple[int, ...], weight: jax.Array | jax.ShapeDtypeStruct) -> NamedSharding | None:
    """Returns the sharding of a weight without the axes that are not in `shape`; None if it has no named axes."""
    if not isinstance(weight.sharding, NamedSharding):
        return None
    spec = (*weight.sharding.spec, *[None] * (len(shape) - len(weight.sharding.spec)))
    kept = [axes if size == of else None for axes, size, of in zip(spec, shape, weight.shape, strict=True)]
    return NamedSharding(weight.sharding.mesh, PartitionSpec(*kept))


def cast(params: PyTree, dtype: str | None) -> PyTree:
    """Returns the weights in `dtype`, those that have it already as they are; None changes nothing."""
    return params if dtype is None else jax.tree.map(lambda x: x.astype(dtype), params)


def trained_copy(params: PyTree, dtype: str | None) -> PyTree:
    """Returns the weights to train, in `dtype` (None keeps theirs): always a copy, as the step consumes its state."""
    return jax.tree.map(lambda x: jnp.array(x, dtype=dtype or x.dtype, copy=True), params)
