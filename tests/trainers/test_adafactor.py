"""Adafactor against its paper's equations, on the tensors of the file as matrices of their own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from easydel.models.rows import tensors, weight_rows
from easydel.trainers.adafactor import scale_by_adafactor
from easydel.trainers.config import DPOConfig
from easydel.trainers.optimizer import optimizer_of, updates_done
from easydel.trainers.record.checkpoint import Checkpoint, Checkpointer, Progress, abstract_checkpoint
from easydel.trainers.train_state import abstract_state, initial_state
from easydel.trainers.trainable import make_partition
from easydel.weights.table import Tensor, unnest
from oracles.runs import same_bits
from oracles.tiny import tiny_config, tiny_model

SPIKE = 17  # of 34 layers


def by_paper(gradients):
    """Returns the update of one tensor after each of its gradients (Shazeer & Stern 2018, algorithms 4 and 5)."""
    updates, row, column, v = [], 0.0, 0.0, 0.0
    for t, gradient in enumerate(gradients, start=1):
        g = np.asarray(gradient, np.float64)
        beta, square = 1 - t**-0.8, g**2 + 1e-30
        if g.ndim == 2:
            row = beta * row + (1 - beta) * square.mean(axis=1)
            column = beta * column + (1 - beta) * square.mean(axis=0)
            v = np.outer(row, column) / row.mean()
        else:
            v = beta * v + (1 - beta) * square
        u = g / np.sqrt(v)
        updates.append(u / max(1.0, np.sqrt((u**2).mean())))
    return updates


def some(shape, seed):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def updates_of(known, gradients):
    optimizer = scale_by_adafactor(known)
    state, updates, compiled = optimizer.init(gradients[0]), [], jax.jit(optimizer.update)
    for gradient in gradients:
        update, state = compiled(gradient, state)
        updates.append(jax.tree.map(np.asarray, update))
    return updates


def test_a_spike_in_one_of_34_layers_moves_that_layer_alone_and_by_one_learning_rate():
    known = {
        "norm": Tensor("norm.{layer}", ((1,),)),
        "query": Tensor("query.{layer}", ((2, 3), (1,))),  # (heads head_dim) embed -> embed heads head_dim
    }
    gradients = [{"norm": some((34, 40), t), "query": some((34, 5, 2, 3), t + 3)} for t in range(3)]
    for of_layers in gradients[1].values():
        of_layers[SPIKE] *= 1000
    found = updates_of(known, gradients)
    for layer in range(34):
        norms = by_paper([gradient["norm"][layer] for gradient in gradients])
        queries = by_paper([gradient["query"][layer].transpose(1, 2, 0).reshape(6, 5) for gradient in gradients])
        for update, norm, query in zip(found, norms, queries, strict=True):
            np.testing.assert_allclose(update["norm"][layer], norm, rtol=1e-4)
            matrix = update["query"][layer].transpose(1, 2, 0).reshape(6, 5)
            np.testing.assert_allclose(matrix, query, rtol=1e-4)
    # After the spike: that layer moves by one learning rate, the others by theirs.
    sizes = np.sqrt(np.mean(found[1]["norm"] ** 2, axis=1))
    assert sizes[SPIKE] == pytest.approx(1.0, abs=1e-5)
    assert np.delete(sizes, SPIKE).min() > 0.7


@pytest.mark.parametrize("size", [1.0, 1e-3, 1e-6, 1e-9])
def test_an_update_is_as_large_whatever_the_size_of_the_gradient(size):
    known = {"w": Tensor("w", ((0,), (1,))), "b": Tensor("b", ((0,),))}
    gradients = [{"w": size * some((3, 4), t), "b": size * some((5,), t + 9)} for t in range(5)]
    found = updates_of(known, gradients)
    for name in known:
        expected = by_paper([gradient[name] for gradient in gradients])
        np.testing.assert_allclose([update[name] for update in found], expected, rtol=1e-4)


def test_arrays_that_lie_side_by_side_in_a_tensor_are_one_matrix():
    # (heads head_dim) embed, with 2 and 1 heads of 3, in each of 2 layers.
    known = {name: Tensor("qkv.{layer}", ((2, 3), (1,))) for name in ("query", "key")}
    known |= {name: Tensor("bias.{layer}", ((1, 2),)) for name in ("query_bias", "key_bias")}
    heads = {"query": 2, "key": 1}
    gradients = [
        {name: (10 * t + 1) * some((2, 4, count, 3), t + count) for name, count in heads.items()}
        | {f"{name}_bias": (10 * t + 1) * some((2, count, 3), t + count) for name, count in heads.items()}
        for t in range(3)
    ]

    def joined(tree, layer):
        matrix = [tree[name][layer].transpose(1, 2, 0).reshape(-1, 4) for name in heads]
        return np.concatenate(matrix), np.concatenate([tree[f"{name}_bias"][layer].reshape(-1) for name in heads])

    found = updates_of(known, gradients)
    for layer in range(2):
        for place in range(2):
            expected = by_paper([joined(gradient, layer)[place] for gradient in gradients])
            for update, wanted in zip(found, expected, strict=True):
                np.testing.assert_allclose(joined(update, layer)[place], wanted, rtol=1e-4)


def test_what_is_kept_of_a_matrix_are_its_rows_and_its_columns():
    config = tiny_config(model_type="qwen3_moe", num_experts=4, num_experts_per_tok=2, moe_intermediate_size=12)
    rows = weight_rows(config)
    model = tiny_model(config=config)
    kept = 0
    for row in rows:
        kept += len(row.names(model.sizes)) * sum(row.file_shape(model.sizes))  # a vector's one axis is all of it
    state = jax.eval_shape(scale_by_adafactor(tensors(rows)).init, model.params)
    assert sum(x.size for x in jax.tree.leaves(state)) == kept + 1  # and the count


def test_rows_and_columns_lie_where_their_weights_lie():
    model = tiny_model(dims=(1, 2, 1, 2, 2))
    optimizer = optimizer_of(DPOConfig(optimizer="adafactor"), lambda step: 0.1, model)
    state = abstract_state(model.params, optimizer, model.decoder.mesh).opt_state[0]
    places = {
        name: unnest(getattr(state, name))["layers", "query", "kernel"].sharding.spec for name in ("rows", "columns")
    }
    assert places["rows"] == PartitionSpec(None, None, ("tp",), None)  # layers embed heads head_dim
    assert places["columns"] == PartitionSpec(None, ("fsdp", "sp"), None, None)
    whole = initial_state(tiny_model().params, optimizer, 0, tiny_model().decoder.mesh).opt_state
    split = initial_state(model.params, optimizer, 0, model.decoder.mesh).opt_state
    gradient = jax.tree.map(lambda x: some(x.shape, x.size), model.params)
    there, here = (jax.jit(optimizer.update)(gradient, start, model.params)[0] for start in (split, whole))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4), there, here)


@pytest.mark.parametrize("name", ["adafactor", "muon"])
def test_the_state_of_adapters_of_a_fused_model_comes_back_from_a_checkpoint(name, tmp_path):
    """Of matrices alone: nothing is kept whole, and nothing is left for AdamW."""
    model = tiny_model(config=tiny_config(model_type="phi3")).apply_lora(2)
    config = DPOConfig(optimizer=name, frozen_parameters=r"layers\.1\.")
    split = make_partition(config, model)
    params = split.trained_part(model.params)
    optimizer = optimizer_of(config, lambda step: 0.1, model, split)
    state = initial_state(params, optimizer, 0, model.decoder.mesh)
    gradient = jax.tree.map(lambda x: jnp.asarray(some(x.shape, x.size)), params)
    _, moved = jax.jit(optimizer.update)(gradient, state.opt_state, params)
    saved = Checkpoint(state._replace(opt_state=moved), Progress(0, 0, 0, "", ""), None)
    with Checkpointer(tmp_path / "checkpoints") as checkpointer:
        checkpointer.save(saved)
        checkpointer.wait()
        restored = checkpointer.restore(0, abstract_checkpoint(saved._replace(state=state)))
    assert same_bits(restored.state.opt_state, moved)
    assert updates_done(moved) == 1
    assert jax.tree.structure(restored.state.opt_state) == jax.tree.structure(moved)
