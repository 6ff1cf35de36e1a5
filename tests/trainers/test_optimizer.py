"""One step of each optimizer against a few lines of numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from easydel.models.rows import tensors
from easydel.trainers.optimizer import is_decayed, make_optimizer
from easydel.trainers.train_state import initial_state
from easydel.weights.table import Tensor
from oracles.tiny import tiny_config, tiny_model

RATE = 0.01


def make(name, params, *, rate=RATE, **options):
    return make_optimizer(name, lambda step: rate, tensors=each_a_tensor(params), **options)


def each_a_tensor(params):
    """Returns that each array is a tensor of its own."""
    return {name: Tensor(f"{name}.{{layer}}", tuple((axis,) for axis in range(x.ndim))) for name, x in params.items()}


def after(name, params, gradients, **options):
    """Returns the weights after one update per gradient."""
    optimizer = make(name, params, **options)
    state = optimizer.init(params)
    for gradient in gradients:
        updates, state = optimizer.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
    return params


def some(shape=(3, 4), seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def adamw(w, g, *, steps, b1=0.9, b2=0.999, eps=1e-8, decay=0.0):
    m = v = 0.0
    for t in range(1, steps + 1):
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        w = w - RATE * (m / (1 - b1**t) / (np.sqrt(v / (1 - b2**t)) + eps) + decay * w)
    return w


def lion(w, g, *, steps, b1=0.9, b2=0.99, decay=0.0):
    m = np.zeros_like(g)
    for _ in range(steps):
        w, m = w - RATE * (np.sign(b1 * m + (1 - b1) * g) + decay * w), b2 * m + (1 - b2) * g
    return w


def rmsprop(w, g, *, steps, b2=0.99, eps=1e-8, decay=0.0):
    v = 0.0
    for _ in range(steps):
        v = b2 * v + (1 - b2) * g**2
        w = w - RATE * (g / (np.sqrt(v) + eps) + decay * w)
    return w


@pytest.mark.parametrize("formula", [adamw, lion, rmsprop], ids=lambda formula: formula.__name__)
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_steps_are_those_of_the_formula(formula, decay):
    w, g = some(), some(seed=1)
    found = after(formula.__name__, {"w": w}, [{"w": g}] * 3, weight_decay=decay)["w"]
    np.testing.assert_allclose(found, formula(w, g, steps=3, decay=decay), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", [1.0, 1e-3, 1e-6, 1e-9])
@pytest.mark.parametrize("formula", [adamw, rmsprop], ids=lambda formula: formula.__name__)
def test_epsilon_stands_outside_of_the_root_whatever_the_size_of_the_gradient(formula, size):
    """As in torch: the first update of RMSprop is ten learning rates, also of a clipped gradient of 1e-6."""
    w, g = np.zeros((3, 4), np.float32), (size * np.sign(some((3, 4), seed=1))).astype(np.float32)
    found = after(formula.__name__, {"w": w}, [{"w": g}] * 5)["w"]
    np.testing.assert_allclose(found, formula(w, g.astype(float), steps=5), rtol=1e-5)


@pytest.mark.parametrize(
    ("formula", "options", "names"),
    [
        (adamw, {"beta1": 0.5, "beta2": 0.9, "epsilon": 0.1}, {"b1": 0.5, "b2": 0.9, "eps": 0.1}),
        (lion, {"beta1": 0.3, "beta2": 0.6}, {"b1": 0.3, "b2": 0.6}),
        (rmsprop, {"beta2": 0.5, "epsilon": 0.1}, {"b2": 0.5, "eps": 0.1}),
    ],
    ids=["adamw", "lion", "rmsprop"],
)
def test_the_options_of_an_optimizer_are_those_of_its_formula(formula, options, names):
    w, gradients = some(), [some(seed=1)] * 2
    found = after(formula.__name__, {"w": w}, [{"w": g} for g in gradients], **options)["w"]
    np.testing.assert_allclose(found, formula(w, gradients[0], steps=2, **names), rtol=1e-5)


@pytest.mark.parametrize("name", ["adamw", "lion", "rmsprop", "adafactor", "muon"])
def test_every_optimizer_lowers_a_quadratic(name):
    params, target = {"w": jnp.asarray(some((40, 36))), "norm": jnp.zeros(5)}, some((40, 36), seed=2)
    optimizer = make(name, params, rate=0.1)

    def loss(params):
        return jnp.mean((params["w"] - target) ** 2) + jnp.mean((params["norm"] - 1.0) ** 2)

    def step(_, carry):
        params, state = carry
        updates, state = optimizer.update(jax.grad(loss)(params), state, params)
        return optax.apply_updates(params, updates), state

    trained, _ = jax.jit(lambda params: jax.lax.fori_loop(0, 80, step, (params, optimizer.init(params))))(params)
    assert loss(trained) < 0.3 * loss(params)


def test_weight_decay_leaves_norms_and_biases_alone():
    config = tiny_config(attention_bias=True, mlp_bias=True)
    decayed = is_decayed(tiny_model(config=config).params)
    spared = {jax.tree_util.keystr(path) for path, yes in jax.tree.leaves_with_path(decayed) if not yes}
    biases = {f"['layers']['{name}']['bias']" for name in ("query", "key", "value", "output", "gate", "up", "down")}
    assert spared == biases | {"['norm']", "['layers']['attention_norm']", "['layers']['mlp_norm']"}


@pytest.mark.parametrize("name", ["adamw", "lion", "rmsprop", "adafactor", "muon"])
def test_a_weight_without_gradient_only_decays(name):
    params = {"w": jnp.full((3, 4), 2.0), "norm": jnp.full(3, 2.0)}
    still = jax.tree.map(jnp.zeros_like, params)
    found = after(name, params, [still], weight_decay=0.1)
    np.testing.assert_allclose(found["w"], 2.0 * (1 - RATE * 0.1), rtol=1e-6)
    np.testing.assert_array_equal(found["norm"], 2.0)


def test_clipping_scales_the_whole_gradient_to_the_norm():
    # The gradient (3, 4) has norm 5. With b1 = b2 = 0 and a large epsilon AdamW is g / (|g| + eps), nearly g / eps.
    params = {"a": jnp.zeros(1), "b": jnp.zeros(1)}
    gradient = {"a": jnp.array([3.0]), "b": jnp.array([4.0])}
    options = {"beta1": 0.0, "beta2": 0.0, "epsilon": 1e4}
    for limit, scale in ((1.0, 0.2), (10.0, 1.0), (None, 1.0)):
        found = after("adamw", params, [gradient], clip_grad=limit, **options)
        np.testing.assert_allclose(found["a"], -RATE * 3 * scale / 1e4, rtol=1e-3)
        np.testing.assert_allclose(found["b"], -RATE * 4 * scale / 1e4, rtol=1e-3)


@pytest.mark.parametrize(("norm", "limit"), [(5e-7, 1e-7), (5e-3, 1e-3), (0.0, 1.0)])
def test_a_small_norm_is_clipped_as_torch_clips_it(norm, limit):
    """`limit / (norm + 1e-6)`, at most 1. With b1 = b2 = 0 and epsilon 1 RMSprop and AdamW move by the gradient."""
    gradient = {"a": jnp.array([0.6 * norm, 0.8 * norm])}
    found = after("adamw", {"a": jnp.zeros(2)}, [gradient], clip_grad=limit, beta1=0.0, beta2=0.0, epsilon=1.0)
    expected = -RATE * np.array([0.6, 0.8]) * norm * min(1.0, limit / (norm + 1e-6))
    np.testing.assert_allclose(found["a"], expected, rtol=1e-3)


@pytest.mark.parametrize("name", ["adamw", "lion", "rmsprop", "adafactor", "muon"])
def test_moments_are_float32_for_bfloat16_weights_and_steps_equal_those_of_float32(name):
    wide = {"w": jnp.asarray(some((40, 36))), "norm": jnp.asarray(some((5,)))}
    narrow = jax.tree.map(lambda x: x.astype(jnp.bfloat16), wide)
    optimizer = make(name, narrow)
    gradient = jax.tree.map(lambda x: x / 7, narrow)
    state = optimizer.init(narrow)
    for _ in range(2):
        updates, state = optimizer.update(gradient, state, narrow)
        floats = [x for x in jax.tree.leaves((updates, state)) if jnp.issubdtype(x.dtype, jnp.floating)]
        assert {x.dtype for x in floats} == {np.dtype(np.float32)}
    rounded, g = (jax.tree.map(lambda x: x.astype(jnp.float32), tree) for tree in (narrow, gradient))
    state = optimizer.init(rounded)
    for _ in range(2):
        expected, state = optimizer.update(g, state, rounded)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), updates, expected)


def test_the_first_state_owns_the_weights_and_has_taken_no_step():
    model = tiny_model()
    optimizer = make_optimizer("adamw", lambda step: RATE, tensors=tensors(model.rows))
    state = initial_state(model.params, optimizer, 3, model.decoder.mesh)
    assert int(state.step) == 0
    assert state.params is model.params
    np.testing.assert_array_equal(jax.random.key_data(state.key), jax.random.key_data(jax.random.key(3)))
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(state.opt_state))
