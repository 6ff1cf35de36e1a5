"""Experts: the sparse MLP against every expert on every token, on meshes, and the loss that keeps them balanced."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from easydel.errors import ConfigError
from easydel.models.auto import AutoEasyDeLModelForCausalLM
from easydel.models.config import ModelConfig
from easydel.models.experts import balance, routes, routing_sums, sparse_mlp, usage
from easydel.models.kinds import Experts
from easydel.models.layers import gated_mlp
from easydel.sharding import make_mesh
from oracles.cases import CASES
from oracles.folders import write_model
from oracles.tiny import ONE_DEVICE

EXPERTS = Experts(number=4, per_token=2, size=8, normalize=True, aux_coefficient=0.01)


@pytest.fixture(scope="module")
def layer():
    """A token [rows length embed], a router, and experts whose sizes divide over meshes."""
    random = np.random.default_rng(0)
    shapes = {"x": (4, 9, 16), "router": (16, 4), "gate": (4, 16, 8), "up": (4, 16, 8), "down": (4, 8, 16)}
    return {name: jnp.asarray(random.standard_normal(shape), jnp.float32) for name, shape in shapes.items()}


def sparse(layer, mesh):
    chosen = routes(layer["x"], {"kernel": layer["router"]}, EXPERTS)
    kernels = {name: {"kernel": layer[name]} for name in ("gate", "up", "down")}
    return sparse_mlp(layer["x"], chosen, kernels, activation="silu", mesh=mesh, precision=None)


def dense(layer):
    """Every expert on every token, and the two likeliest of each weighed by what they would sum to."""
    chances = jax.nn.softmax(layer["x"] @ layer["router"], axis=-1)
    least = jnp.sort(chances, axis=-1)[..., -2:-1]
    weights = jnp.where(chances >= least, chances, 0.0)
    weights /= weights.sum(-1, keepdims=True)
    outs = [
        gated_mlp(layer["x"], {name: {"kernel": layer[name][e]} for name in ("gate", "up", "down")}, activation="silu")
        for e in range(4)
    ]
    return jnp.einsum("xrle,rlx->rle", jnp.stack(outs), weights)


@pytest.mark.parametrize("dims", [ONE_DEVICE, (1, 2, 2, 2, 1), (2, 1, 4, 1, 1)], ids=str)
def test_values_and_gradients_are_those_of_every_expert_on_every_token(layer, dims):
    mesh = make_mesh(dims)
    pull = jnp.asarray(np.random.default_rng(1).standard_normal(layer["x"].shape), jnp.float32)

    def results(function):
        out, back = jax.vjp(function, layer)
        return out, back(pull)[0]

    found = jax.jit(lambda: results(lambda layer: sparse(layer, mesh)))()
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), found, results(dense))


def test_experts_used_equally_have_the_least_balance():
    """By hand: two experts, one of them for each token. Equal: 2 (1/2 1/2 + 1/2 1/2) = 1. All to one: 2 (1 * 3/4)."""
    equal = jnp.array([[6.0, 6.0], [6.0, 6.0]])
    assert float(balance(equal, per_token=1)) == pytest.approx(1.0)
    one_sided = jnp.array([[12.0, 0.0], [9.0, 3.0]])
    assert float(balance(one_sided, per_token=1)) == pytest.approx(1.5)


def test_tokens_count_in_the_sums_as_often_as_they_are_told_to(layer):
    chosen = routes(layer["x"], {"kernel": layer["router"]}, EXPERTS)
    counts = jnp.zeros((4, 9)).at[1, 3].set(2.0).at[2, 5].set(1.0)
    hits, chances = routing_sums(usage(chosen), counts)
    assert sorted(np.flatnonzero(hits)) == sorted({*chosen.expert[1, 3].tolist(), *chosen.expert[2, 5].tolist()})
    assert float(hits.sum()) == 3 * EXPERTS.per_token
    np.testing.assert_allclose(chances, 2 * chosen.probability[1, 3] + chosen.probability[2, 5], rtol=1e-6)


def test_devices_for_experts_are_refused_where_there_are_none(tmp_path):
    folder = write_model(tmp_path, CASES["llama-gqa"])
    with pytest.raises(ConfigError, match=r"2 devices for experts \(ep\), and a llama model has no experts"):
        AutoEasyDeLModelForCausalLM.from_pretrained(folder, sharding_axis_dims=(1, 4, 2, 1, 1))


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("mixtral", {"num_experts_per_tok": 6}, r"num_experts_per_tok \(6\) must be 1 to the number of experts, 5"),
        ("mixtral", {"router_jitter_noise": 0.1}, "noise on the input of the router"),
    ],
)
def test_settings_of_experts_that_cannot_be_are_refused(name, changes, message):
    with pytest.raises(ConfigError, match=message):
        ModelConfig.from_hf(CASES[name] | changes)
