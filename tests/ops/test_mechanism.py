"""What a mechanism refuses, and attention made of a function of each device's own queries."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from easydel.errors import ConfigError
from easydel.ops.mechanism import Mechanism, Needs, needs_on, on_each_device
from easydel.sharding import make_mesh
from oracles.tiny import ONE_DEVICE

NEEDS = Needs("cpu", 8, "float32")


def no_attention(layout, scores, mesh, sequences):
    raise AssertionError("nothing is computed")


@pytest.mark.parametrize(
    ("limits", "needs", "why"),
    [
        ({}, NEEDS, None),
        ({"platform": "gpu"}, NEEDS, "runs on gpu only, and the devices are cpu"),
        ({}, NEEDS._replace(dropout_rate=0.1), "has no dropout and attention_dropout is 0.1"),
        ({"dropout": True}, NEEDS._replace(dropout_rate=0.1), None),
        ({}, NEEDS._replace(score_cap=5.0), "has no cap of scores and attn_logit_softcapping is 5.0"),
        ({"score_cap": True}, NEEDS._replace(score_cap=5.0), None),
        ({"dtypes": ("bfloat16", "float16")}, NEEDS, "computes in bfloat16 and float16, and dtype is float32"),
        ({"refuses": lambda needs: f"dislikes {needs.head_dim}"}, NEEDS, "dislikes 8"),
    ],
)
def test_a_mechanism_refuses_what_it_cannot_do(limits, needs, why):
    found = Mechanism(no_attention, **limits).refusal(needs)
    assert (found is None) if why is None else (why in found)


def test_the_needs_of_a_model_say_where_it_runs():
    mesh = make_mesh((1, 1, 1, 2, 4))
    needs = needs_on(mesh, heads=(8, 4), head_dim=8, dtype="float32", dropout_rate=0.0, score_cap=None)
    assert needs == NEEDS._replace(length_shards=4, heads=(4, 2))


def _plus_own(query, key, value, own):
    return query + own[..., None, None].astype(query.dtype)


@pytest.mark.parametrize("dims", [ONE_DEVICE, (2, 2, 1, 2, 1)], ids=str)
def test_each_device_mixes_its_own_rows_and_heads_with_what_was_prepared_of_them(dims):
    segment = jnp.arange(4 * 6).reshape(4, 6)
    layout = segment, 0 * segment, 0 * segment
    mesh = make_mesh(dims)
    attention = on_each_device(layout, mesh, lambda segment, *_: segment, _plus_own)
    query = jnp.asarray(np.random.default_rng(0).standard_normal((4, 6, 4, 8)), jnp.float32)
    out = jax.jit(lambda x: attention(x, x[:, :, :2], x[:, :, :2], None))(query)
    np.testing.assert_array_equal(out, _plus_own(query, None, None, segment))


def test_dropout_is_not_left_out_in_silence():
    ones = jnp.ones((1, 6), jnp.int32)
    attention = on_each_device((ones,) * 3, make_mesh(ONE_DEVICE), lambda *_: (), lambda q, k, v, own: q)
    with pytest.raises(ConfigError, match="only attn_mechanism 'vanilla' has dropout"):
        attention(*(jnp.ones((1, 6, 2, 4)) for _ in range(3)), (jax.random.key(0), 0.1))
