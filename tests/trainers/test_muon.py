"""Muon: its momentum and its iteration in numpy, layer by layer, and AdamW for the rest."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from easydel.models.rows import tensors, weight_rows
from easydel.trainers.config import DPOConfig
from easydel.trainers.muon import scale_by_muon
from easydel.trainers.optimizer import make_optimizer
from easydel.weights.table import Tensor
from oracles.tiny import tiny_config, tiny_model

RATE = 0.01


def some(shape, seed):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def iterated(m):
    """Returns five steps of the iteration on one matrix in the order of the file (Jordan 2024)."""
    x = m / max(np.linalg.norm(m), 1e-7)
    for _ in range(5):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x


@pytest.mark.parametrize("size", [1.0, 1e-3, 1e-6, 1e-9])
def test_updates_are_those_of_nesterov_momentum_made_orthogonal_in_each_layer(size):
    # (heads head_dim) embed -> embed heads head_dim, in 3 layers: matrices of 6 x 5 and of 5 x 6.
    known = {"query": Tensor("q.{layer}", ((2, 3), (1,))), "output": Tensor("o.{layer}", ((3,), (1, 2)))}
    gradients = [{"query": size * some((3, 5, 2, 3), t), "output": size * some((3, 2, 3, 5), t + 9)} for t in range(3)]

    def matrices(tree, layer):
        query, output = np.asarray(tree["query"][layer]), np.asarray(tree["output"][layer])
        return query.transpose(1, 2, 0).reshape(6, 5), output.reshape(6, 5).T

    optimizer = scale_by_muon(known, b1=0.9, b2=0.999, eps=1e-8)
    state = optimizer.init(gradients[0])
    momenta = {(layer, place): np.zeros(1) for layer in range(3) for place in range(2)}
    compiled = jax.jit(optimizer.update)
    for gradient in gradients:
        update, state = compiled(gradient, state)
        for layer, place in momenta:
            g = matrices(gradient, layer)[place].astype(np.float64)
            momenta[layer, place] = 0.95 * momenta[layer, place] + 0.05 * g
            expected = 0.2 * np.sqrt(6) * iterated(0.95 * momenta[layer, place] + 0.05 * g)
            np.testing.assert_allclose(matrices(update, layer)[place], expected, rtol=1e-3, atol=1e-4)


def test_muon_orthogonalises_each_matrix_of_a_model_and_gives_the_rest_adamw():
    config = tiny_config()
    params = tiny_model(config=config).params
    # Of a matrix: which of its axes after the layers are summed over; their product is the width.
    widths = {"query": 16, "key": 16, "value": 16, "output": 16, "gate": 16, "up": 16, "down": 24}
    gradient = jax.tree.map(lambda x: some(x.shape, x.size), params)
    nearest_orthogonal = {}
    for name, width in widths.items():
        kernel = gradient["layers"][name]["kernel"]
        left, _, right = np.linalg.svd(kernel.reshape(2, width, -1), full_matrices=False)
        # Newton-Schulz iterations take singular values that are not tiny to about 1.
        spread = np.linspace(0.5, 2.0, left.shape[-1], dtype=np.float32)
        gradient["layers"][name]["kernel"] = ((left * spread) @ right).reshape(kernel.shape)
        nearest_orthogonal[name] = left @ right
    optimizer = make_optimizer("muon", lambda step: RATE, tensors=tensors(weight_rows(config)))
    updates, _ = jax.jit(lambda: optimizer.update(gradient, optimizer.init(params), params))()
    for name, width in widths.items():
        for layer, expected in zip(updates["layers"][name]["kernel"], nearest_orthogonal[name], strict=True):
            # Of the size of an AdamW step (Liu et al. 2025): 0.2 sqrt(longer side)
            matrix = -np.asarray(layer).reshape(width, -1) / (RATE * 0.2 * np.sqrt(max(expected.shape)))
            singular = np.linalg.svd(matrix, compute_uv=False)
            assert 0.6 < singular.min() <= singular.max() < 1.3, name
            assert np.sum(matrix * expected) > 0.98 * np.linalg.norm(matrix) * np.linalg.norm(expected), name
    for path in (("embedding",), ("head",), ("norm",), ("layers", "attention_norm"), ("layers", "mlp_norm")):
        update, g = updates, gradient
        for key in path:
            update, g = update[key], g[key]
        np.testing.assert_allclose(update, -RATE * np.sign(g), rtol=1e-4, err_msg=str(path))  # AdamW's first


def test_what_is_no_matrix_takes_the_settings_of_adamw():
    settings, gradient = DPOConfig(optimizer="muon", adam_epsilon=0.5), {"norm": some((5,), 0)}
    known = {"norm": Tensor("norm.weight", ((0,),))}
    optimizer = make_optimizer("muon", lambda step: RATE, tensors=known, epsilon=settings.adam_epsilon)
    update, _ = optimizer.update(gradient, optimizer.init(gradient), gradient)
    g = gradient["norm"]
    np.testing.assert_allclose(update["norm"], -RATE * g / (np.abs(g) + 0.5), rtol=1e-5)


def test_matrices_that_lie_side_by_side_are_orthogonalised_one_by_one():
    known = {name: Tensor("qkv.{layer}", ((2,), (1,))) for name in ("query", "key")}
    gradient = {"query": some((1, 4, 5), 0), "key": 1e-4 * some((1, 4, 5), 1)}
    optimizer = scale_by_muon(known, b1=0.9, b2=0.999, eps=1e-8)
    update, _ = optimizer.update(gradient, optimizer.init(gradient))
    for name in known:
        expected = 0.2 * np.sqrt(5) * iterated(gradient[name][0].T)
        np.testing.assert_allclose(jnp.asarray(update[name])[0].T, expected, rtol=1e-3, atol=1e-4)
