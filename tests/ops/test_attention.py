"""Who sees whom, and every mechanism against a softmax written out in numpy."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from easydel.errors import ConfigError
from easydel.ops.attention import (
    FASTEST,
    MECHANISMS,
    attend,
    packed_attention,
    resolve_mechanism,
)
from easydel.ops.mechanism import Needs
from easydel.ops.visible import visible
from easydel.sharding import make_mesh
from oracles.tiny import ONE_DEVICE

SEGMENT = np.array([[1, 1, 1, 1, 1, 2, 2, 2, 0, 0]])
BRANCH = np.array([[0, 0, 1, 2, 2, 0, 1, 2, 0, 0]])
# cuDNN cannot run here: `test_cudnn.py` tests all of it but the kernel.
HERE = [name for name in MECHANISMS if name != "cudnn"]
H100 = Needs("gpu", 128, "bfloat16", capability=(9, 0), heads=(32, 8))
CPU, TPU = Needs("cpu", 64, "float32"), Needs("tpu", 128, "bfloat16")
POSITION = np.array([[0, 1, 2, 2, 3, 0, 1, 1, 0, 0]])


def inputs(rows=2, length=10, heads=4, kv_heads=2, head_dim=8, dtype=np.float32):
    rng = np.random.default_rng(0)
    query = rng.standard_normal((rows, length, heads, head_dim))
    key, value = rng.standard_normal((2, rows, length, kv_heads, head_dim))
    return tuple(jnp.asarray(x, dtype) for x in (query, key, value))


def written_out(query, key, value, mask, scale, cap=np.inf):
    """Attention of one query and one head at a time, in float64."""
    query, key, value = (np.asarray(x, np.float64) for x in (query, key, value))
    group = query.shape[2] // key.shape[2]
    out = np.zeros_like(query)
    for row, place, head in np.ndindex(*query.shape[:3]):
        seen = np.flatnonzero(mask[row, place])
        scores = key[row, seen, head // group] @ query[row, place, head] * scale
        scores = scores if np.isinf(cap) else cap * np.tanh(scores / cap)
        weights = np.exp(scores - scores.max())
        out[row, place, head] = weights / weights.sum() @ value[row, seen, head // group]
    return out


def test_a_mechanism_is_a_file_of_its_name_and_the_constant_of_its_name_in_it():
    for name, mechanism in MECHANISMS.items():
        assert getattr(importlib.import_module(f"easydel.ops.{name}"), name.upper()) is mechanism


def test_auto_names_mechanisms_and_ends_with_one_that_serves_every_model_on_every_platform():
    for platform, choices in FASTEST.items():
        assert {MECHANISMS[name].platform for name in choices} <= {None, platform}
        assert (
            MECHANISMS[choices[-1]].refusal(H100._replace(platform=platform, score_cap=1.0, dropout_rate=0.1)) is None
        )


@pytest.mark.parametrize("mechanism", HERE)
@pytest.mark.parametrize("window", [None, 1, 3])
def test_every_mechanism_is_a_masked_softmax_over_grouped_heads(mechanism, window):
    query, key, value = inputs()
    segment, branch, position = (np.repeat(x, 2, 0) for x in (SEGMENT, BRANCH, POSITION))
    mask = np.asarray(visible(segment, branch, position, window))
    expected = written_out(query, key, value, mask, 0.3)
    given = attend(query, key, value, jnp.asarray(mask), scale=0.3, mechanism=mechanism)
    np.testing.assert_allclose(given, expected, atol=1e-5)
    layout = (jnp.asarray(x) for x in (segment, branch, position))
    attention = packed_attention(mechanism, *layout, scale=0.3, mesh=make_mesh(ONE_DEVICE), window=window)
    given, real = attention(query, key, value, None), segment > 0
    np.testing.assert_allclose(np.asarray(given)[real], expected[real], atol=1e-5)


@pytest.mark.parametrize("mechanism", [name for name, each in MECHANISMS.items() if each.score_cap])
def test_a_cap_bounds_the_scores_before_the_softmax(mechanism):
    query, key, value = inputs(rows=1)
    layout = tuple(jnp.asarray(x) for x in (SEGMENT, BRANCH, POSITION))
    expected = written_out(query, key, value, np.asarray(visible(*layout)), 0.9, cap=1.5)
    given = attend(query, key, value, visible(*layout), scale=0.9, mechanism=mechanism, score_cap=1.5)
    np.testing.assert_allclose(given, expected, atol=1e-5)
    attention = packed_attention(mechanism, *layout, scale=0.9, mesh=make_mesh(ONE_DEVICE), score_cap=1.5)
    np.testing.assert_allclose(attention(query, key, value, None)[:, :8], expected[:, :8], atol=1e-5)


@pytest.mark.parametrize("mechanism", [name for name, each in MECHANISMS.items() if each.platform is None])
@pytest.mark.parametrize("dtype", [np.float32, jnp.bfloat16])
def test_a_query_without_keys_gives_finite_numbers_and_gradients(mechanism, dtype):
    arguments = inputs(dtype=dtype)
    mask = jnp.ones((2, 10, 10), bool).at[:, 4].set(False)

    def total(query, key, value):
        out = attend(query, key, value, mask, scale=0.3, mechanism=mechanism)
        return jnp.sum(out.astype(jnp.float32)[:, 5:]), out

    with jax.numpy_dtype_promotion("standard"):  # which jax's own kernel needs in bfloat16
        gradients, out = jax.grad(total, argnums=(0, 1, 2), has_aux=True)(*arguments)
    assert out.dtype == dtype
    assert all(np.isfinite(np.asarray(x, np.float32)).all() for x in (*gradients, out))
    assert not np.asarray(gradients[0], np.float32)[:, 4].any()


@pytest.mark.parametrize(
    ("needs", "resolved"),
    [
        (CPU, "blockwise"),
        (CPU._replace(score_cap=50.0), "blockwise"),
        (CPU._replace(dropout_rate=0.1), "vanilla"),
        (H100, "cudnn"),
        (H100._replace(head_dim=256), "cudnn"),
        (H100._replace(head_dim=256, capability=(8, 0)), "sdpa"),
        (H100._replace(capability=(7, 5)), "sdpa"),
        (H100._replace(capability=None), "sdpa"),  # no GPU of NVIDIA
        (H100._replace(head_dim=20), "sdpa"),
        (H100._replace(length_shards=2), "cudnn"),
        (H100._replace(length_shards=16), "cudnn"),
        (H100._replace(length_shards=3), "sdpa"),
        (H100._replace(dtype="float32"), "sdpa"),
        (H100._replace(score_cap=50.0), "vanilla"),
        (H100._replace(dropout_rate=0.1), "vanilla"),
        (TPU, "splash"),
        (TPU._replace(score_cap=50.0), "splash"),
        (TPU._replace(dtype="float32"), "sdpa"),
        (TPU._replace(length_shards=2), "splash"),
        (TPU._replace(dropout_rate=0.1), "vanilla"),
        (TPU._replace(platform="metal"), "sdpa"),
    ],
)
def test_auto_picks_by_platform_and_by_what_the_model_needs(needs, resolved):
    assert resolve_mechanism("auto", needs) == resolved
    assert resolve_mechanism(resolved, needs) == resolved


@pytest.mark.parametrize(
    ("name", "needs", "message"),
    [
        (
            "sdpa",
            H100._replace(score_cap=50.0),
            r"no cap of scores and attn_logit_softcapping is 50.0. Use 'vanilla' or",
        ),
        (
            "cudnn",
            CPU,
            r"'cudnn' runs on gpu only, and the devices are cpu. Use 'vanilla' or 'blockwise' or 'sdpa', or",
        ),
        ("splash", CPU, "'splash' runs on tpu only, and the devices are cpu"),
        (
            "cudnn",
            H100._replace(length_shards=2, heads=(14, 3)),
            r"splits 14 heads of queries and 3 of keys over the 2 devices of a row \(sp\)",
        ),
        ("cudnn", H100._replace(capability=(7, 5)), r"needs an NVIDIA GPU of compute capability 8\.0"),
        ("cudnn", H100._replace(head_dim=20), "a multiple of 8 up to 256, and it is 20"),
        ("cudnn", H100._replace(dtype="float32"), "computes in bfloat16 and float16, and dtype is float32"),
        ("blockwise", CPU._replace(dropout_rate=0.1), r"no dropout and attention_dropout is 0\.1"),
        (
            "flash_attn2",
            H100,
            "'flash_attn2' is not supported.*: auto, vanilla, blockwise, sdpa, cudnn, splash",
        ),
    ],
)
def test_a_mechanism_that_cannot_serve_is_refused_with_those_that_can(name, needs, message):
    with pytest.raises(ConfigError, match=message):
        resolve_mechanism(name, needs)


def test_a_cap_or_dropout_is_not_left_out_in_silence():
    with pytest.raises(ConfigError, match="no cap of scores"):
        attend(*inputs(), jnp.ones((2, 10, 10), bool), scale=1.0, mechanism="sdpa", score_cap=50.0)
    layout = (jnp.asarray(x) for x in (SEGMENT, BRANCH, POSITION))
    attention = packed_attention("blockwise", *layout, scale=1.0, mesh=make_mesh(ONE_DEVICE))
    with pytest.raises(ConfigError, match="has dropout"):
        attention(*inputs(rows=1), (jax.random.key(0), 0.1))
