"""Adapters: nothing at first, then the product that the papers say, on any mesh, with layers in a loop or not."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from easydel.models.causal_lm import CausalLM
from easydel.models.layers import linear
from easydel.models.lora import Lora, adds_nothing
from oracles.tiny import tiny_model

TOKENS = np.random.default_rng(3).integers(0, 32, (8, 12))
KINDS: list[dict[str, Any]] = [{}, {"use_dora": True}]


def moved(model: CausalLM) -> CausalLM:
    """The model with adapters that add something, the same values on any mesh."""

    def value(path: tuple, x: jax.Array) -> jax.Array:
        random = np.random.default_rng(len(jax.tree_util.keystr(path)))
        if path[-1].key == "lora_b":
            return jax.device_put(0.3 * random.standard_normal(x.shape).astype(x.dtype), x.sharding)
        return x * 1.25 if path[-1].key == "lora_magnitude" else x

    return dataclasses.replace(model, params=jax.tree.map_with_path(value, model.params))


@pytest.fixture(scope="module")
def base() -> CausalLM:
    return tiny_model()


@pytest.mark.exact
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", KINDS, ids=["lora", "dora"])
def test_new_adapters_give_the_logits_of_the_base_bit_for_bit(dtype, kind):
    model = tiny_model(dtype=dtype)
    adapted = model.apply_lora(4, **kind)
    np.testing.assert_array_equal(adapted(TOKENS).logits, model(TOKENS).logits)
    assert adds_nothing(adapted.params)
    assert not adds_nothing(moved(adapted).params)
    assert adapted.params["embedding"] is model.params["embedding"]  # one base in memory


@pytest.mark.parametrize("kind", KINDS, ids=["lora", "dora"])
def test_merged_weights_compute_what_the_adapters_do(base, kind):
    adapted = moved(base.apply_lora(4, alpha=6, **kind))
    logits = np.asarray(adapted(TOKENS).logits)
    assert np.abs(logits - base(TOKENS).logits).max() > 1
    np.testing.assert_allclose(adapted.merged()(TOKENS).logits, logits, atol=2e-5)
    assert adapted.merged().lora is None
    np.testing.assert_array_equal(adapted.without_adapters()(TOKENS).logits, base(TOKENS).logits)


def test_a_projection_is_the_formula_of_the_paper():
    random = np.random.default_rng(0)
    x, w = random.standard_normal((2, 5, 6)), random.standard_normal((6, 4, 3))  # 4 heads of 3
    a, b, m = random.standard_normal((6, 2)), random.standard_normal((2, 4, 3)), random.uniform(0.5, 2, (4, 3))
    scale, bias = 1.7, random.standard_normal((4, 3))
    changed = w + scale * np.tensordot(a, b, 1)
    norm = np.sqrt((w**2).sum(0))
    weights = {"kernel": w, "bias": bias, "lora_a": a, "lora_b": b, "lora_scale": scale}
    found = linear("rle,ehd->rlhd", jnp.asarray(x, jnp.float32), _float32(weights))
    np.testing.assert_allclose(found, np.tensordot(x, changed, 1) + bias, rtol=1e-4, atol=1e-4)
    weights |= {"lora_magnitude": m, "lora_norm": norm}
    found = linear("rle,ehd->rlhd", jnp.asarray(x, jnp.float32), _float32(weights))
    changed *= m / np.sqrt((changed**2).sum(0))
    np.testing.assert_allclose(found, np.tensordot(x, changed, 1) + bias, rtol=1e-4, atol=1e-4)


def _float32(weights: dict[str, Any]) -> dict[str, jax.Array]:
    return {name: jnp.asarray(x, jnp.float32) for name, x in weights.items()}


def test_an_output_without_weights_stays_zero_under_dora_and_has_finite_gradients():
    weights = _float32({"kernel": np.zeros((3, 2)), "lora_a": np.ones((3, 1)), "lora_b": np.zeros((1, 2))})
    weights |= _float32({"lora_scale": 1.0, "lora_magnitude": np.zeros(2), "lora_norm": np.zeros(2)})
    value, gradient = jax.value_and_grad(lambda w: linear("bi,io->bo", jnp.ones((1, 3)), w).sum())(weights)
    assert value == 0
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(gradient))


def test_only_the_sum_of_small_products_is_formed(base):
    def matrices(model: CausalLM) -> list[tuple[int, ...]]:
        kernel = model.params["layers"]["gate"]["kernel"].shape[1:]
        run = jax.make_jaxpr(lambda params: model.decoder(params, *[jnp.ones((1, 5), int)] * 4))
        text = str(run(model.params))
        return [kernel for line in text.splitlines() if f"f32[{kernel[0]},{kernel[1]}] = dot_general" in line]

    assert matrices(base.apply_lora(4)) == []
    assert matrices(base.apply_lora(4, use_dora=True)) == []


@pytest.mark.parametrize("kind", KINDS, ids=["lora", "dora"])
def test_meshes_and_loops_over_layers_give_the_same_logits(base, kind):
    expected = np.asarray(moved(base.apply_lora(4, **kind))(TOKENS).logits)
    for dims in ((1, 8, 1, 1, 1), (2, 2, 1, 2, 1)):
        spread = moved(tiny_model(dims=dims).apply_lora(4, **kind))
        a, b = (spread.params["layers"]["gate"][name] for name in ("lora_a", "lora_b"))
        assert a.sharding.shard_shape(a.shape)[1] * dims[1] == a.shape[1]  # the inputs over fsdp
        assert b.sharding.shard_shape(b.shape)[2] * dims[3] == b.shape[2]  # the outputs over tp
        np.testing.assert_allclose(spread(TOKENS).logits, expected, atol=2e-5)
    looped = moved(base.apply_lora(4, **kind))
    looped = dataclasses.replace(looped, decoder=dataclasses.replace(looped.decoder, scan_layers=True))
    np.testing.assert_allclose(looped(TOKENS).logits, expected, atol=2e-5)


def test_dropout_is_of_the_inputs_of_adapters_alone(base):
    adapted = moved(base.apply_lora(4, dropout=0.4))
    rows = [jnp.ones((8, 12), int), jnp.zeros((8, 12), int), jnp.broadcast_to(jnp.arange(12), (8, 12))]

    def hidden(model: CausalLM, key: jax.Array | None) -> np.ndarray:
        return np.asarray(model.decoder(model.params, jnp.asarray(TOKENS), *rows, key)[0])

    one, other = jax.random.key(1), jax.random.key(2)
    assert not np.array_equal(hidden(adapted, one), hidden(adapted, None))
    assert not np.array_equal(hidden(adapted, one), hidden(adapted, other))
    np.testing.assert_array_equal(hidden(adapted, one), hidden(adapted, one))
    fresh = base.apply_lora(4, dropout=0.4)  # what adds nothing has nothing to drop
    np.testing.assert_array_equal(hidden(fresh, one), hidden(base, None))


def test_the_scale_is_that_of_the_settings():
    assert Lora(4, 8.0, ()).scale_of("model.layers.0.mlp.up_proj") == 2
    assert Lora(4, 8.0, (), use_rslora=True).scale_of("model.layers.0.mlp.up_proj") == 4
