"""The MLP of a sparse layer: a router sends each token to a few of many experts, each a small MLP.

Source: Mixtral (Jiang et al. 2024, arXiv 2401.04088, section 2.1).
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int

from easydel.models.kinds import Experts
from easydel.models.layers import activated, gated_mlp, linear
from easydel.models.quantize import dense
from easydel.ops.grouped import grouped_product, make_groups
from easydel.sharding import spec_for, token_spec


class Routes(NamedTuple):
    """Where the tokens go: the experts of each, how much each of them counts, and the probabilities of all."""

    expert: Int[Array, "... chosen"]
    weight: Float[Array, "... chosen"]
    probability: Float[Array, "... experts"]


def routes(x: Float[Array, "... embed"], router: Mapping[str, Any], experts: Experts) -> Routes:
    """Returns the most likely experts of every token; softmax and weights are float32."""
    if experts.sigmoid:
        return _sigmoid_routes(x, router, experts)
    probability = jax.nn.softmax(linear("...e,ex->...x", x, router).astype(jnp.float32), axis=-1)
    weight, expert = jax.lax.top_k(probability, experts.per_token)
    if experts.normalize:
        weight = weight / jnp.sum(weight, axis=-1, keepdims=True)
    return Routes(expert, weight * experts.scaling, probability)


def _sigmoid_routes(x: Float[Array, "... embed"], router: Mapping[str, Any], experts: Experts) -> Routes:
    """Returns the experts of every token where each has a chance of its own, in float32.

    A correction bias is added for the choice alone, so that no gradient comes to it (DeepSeek-V3, arXiv 2412.19437,
    eq. 16); of groups of experts those with the highest sum of their best two are looked at.
    """
    wide = {name: dense(leaf, jnp.float32) for name, leaf in router.items() if name != "correction"}
    probability = jax.nn.sigmoid(linear("...e,ex->...x", x.astype(jnp.float32), wide))
    choice = jax.lax.stop_gradient(probability + router["correction"].astype(jnp.float32))
    if experts.groups > 1:
        by_group = choice.reshape(*choice.shape[:-1], experts.groups, -1)
        best = jnp.sum(jax.lax.top_k(by_group, 2)[0], axis=-1)
        _, taken = jax.lax.top_k(best, experts.groups_per_token)
        open_ = jnp.any(jax.nn.one_hot(taken, experts.groups, dtype=bool), axis=-2)
        choice = jnp.where(open_[..., None], by_group, -jnp.inf).reshape(choice.shape)
    _, expert = jax.lax.top_k(choice, experts.per_token)
    weight = jnp.take_along_axis(probability, expert, axis=-1)
    if experts.normalize:
        weight = weight / (jnp.sum(weight, axis=-1, keepdims=True) + 1e-20)
    return Routes(expert, weight * experts.scaling, probability)


def shared_expert(
    x: Float[Array, "... embed"], layer: Mapping[str, Any], *, activation: str
) -> Float[Array, "... embed"]:
    """Returns what the expert makes that every token goes to, times its gate where it has one."""
    out = gated_mlp(x, {name: layer[f"shared_{name}"] for name in ("gate", "up", "down")}, activation=activation)
    if "shared_router" not in layer:
        return out
    return out * jax.nn.sigmoid(linear("...e,eo->...o", x, layer["shared_router"]))


def usage(chosen: Routes) -> Float[Array, "... 2 experts"]:
    """Returns for each token which experts it chose, 1 or 0, and how likely each was."""
    hits = jnp.sum(jax.nn.one_hot(chosen.expert, chosen.probability.shape[-1], dtype=jnp.float32), axis=-2)
    return jnp.stack([hits, chosen.probability], axis=-2)


def routing_sums(used: Float[Array, "rows length 2 experts"], counts: Float[Array, "rows length"]) -> jax.Array:
    """Returns `usage` summed over tokens that count `counts` times: [2 experts]."""
    return jnp.einsum("rl,rlsx->sx", counts, used)


def sparse_mlp(
    x: Float[Array, "... embed"],
    chosen: Routes,
    experts: Mapping[str, Any],
    *,
    activation: str,
    mesh: Mesh,
    precision: str | None,
) -> Float[Array, "... embed"]:
    """Returns, for each token, the weighted sum of down(activation(gate(x)) * up(x)) over its experts.

    Only those are computed. On a mesh each device does its share of the experts (axis `ep`) and of their width (`tp`)
    for the tokens that it has, and the shares are added up.
    """
    platform = mesh.devices.flat[0].platform
    kernels = [dense(experts[name]["kernel"], x.dtype) for name in ("gate", "up", "down")]
    mix = partial(_mix, activation=activation, platform=platform, precision=precision)
    if mesh.size == 1:
        return mix(x, chosen.expert, chosen.weight, *kernels)

    def share(x: jax.Array, expert: jax.Array, weight: jax.Array, *kernels: jax.Array) -> jax.Array:
        first = jax.lax.axis_index("ep") * kernels[0].shape[0]
        return jax.lax.psum(mix(x, expert - first, weight, *kernels), ("ep", "tp"))

    tokens = token_spec(x, mesh)  # kernels are whole along `embed`, which is split for storage only
    into = spec_for(("experts", "residual", "expert_mlp"), kernels[0].shape, mesh, name="experts")
    out = spec_for(("experts", "expert_mlp", "residual"), kernels[2].shape, mesh, name="experts")
    specs = (tokens, tokens, tokens, into, into, out)
    shared = jax.shard_map(share, mesh=mesh, in_specs=specs, out_specs=tokens, check_vma=False)
    return shared(x, chosen.expert, chosen.weight, *kernels)


def balance(sums: Float[Array, "2 experts"], per_token: int) -> Float[Array, ""]:
    """Returns experts * sum_e f_e p_e: f_e is how often a token chooses expert e, p_e the mean probability of it.

    It is `per_token` where all experts are used equally, and more where some are not (Switch Transformer,
    arXiv 2101.03961, eq. 4-6; as in `transformers`, all sparse layers count as one).
    """
    tokens = jnp.sum(sums[0]) / per_token
    return sums.shape[1] * jnp.sum((sums[0] / tokens) * (sums[1] / tokens))


def _mix(
    x: jax.Array,
    expert: jax.Array,
    weight: jax.Array,
    gate: jax.Array,
    up: jax.Array,
    down: jax.Array,
    *,
    activation: str,
    platform: str,
    precision: str | None,
) -> jax.Array:
    """Returns the weighted sum over those experts of each token that are here: numbers 0 to experts - 1."""
    here, per_token = gate.shape[0], expert.shape[-1]
    tokens = x.reshape(-1, x.shape[-1])
    inside = (expert >= 0) & (expert < here)
    number = jnp.where(inside, expert, here).reshape(-1)
    order = jnp.argsort(number, stable=True)
    groups = make_groups(jnp.bincount(number, length=here + 1)[:here], number.size)
    product = partial(grouped_product, groups=groups, platform=platform, precision=precision)
    sent = tokens[order // per_token]
    wide = activated(product(sent, gate), product(sent, up), activation)
    back = product(wide, down)[jnp.argsort(order)].reshape(*expert.shape, -1)
    back = jnp.where(inside[..., None], back.astype(jnp.float32), 0.0)
    return jnp.sum(back * weight[..., None], axis=-2).astype(x.dtype)
