"""Who sees whom, and every mechanism against a softmax written out in numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from easydel.attention import MECHANISMS, attend, packed_attention, resolve_mechanism, visible
from easydel.errors import ConfigError
from easydel.sharding import make_mesh
from oracles.tiny import ONE_DEVICE

SEGMENT = np.array([[1, 1, 1, 1, 1, 2, 2, 2, 0, 0]])
BRANCH = np.array([[0, 0, 1, 2, 2, 0, 1, 2, 0, 0]])


def inputs(rows=2, length=10, heads=4, kv_heads=2, head_dim=8, dtype=np.float32):
    rng = np.random.default_rng(0)
    query = rng.standard_normal((rows, length, heads, head_dim))
    key, value = rng.standard_normal((2, rows, length, kv_heads, head_dim))
    return tuple(jnp.asarray(x, dtype) for x in (query, key, value))


def written_out(query, key, value, mask, scale):
    """Attention of one query and one head at a time, in float64."""
    query, key, value = (np.asarray(x, np.float64) for x in (query, key, value))
    group = query.shape[2] // key.shape[2]
    out = np.zeros_like(query)
    for row, place, head in np.ndindex(*query.shape[:3]):
        seen = np.flatnonzero(mask[row, place])
        scores = key[row, seen, head // group] @ query[row, place, head] * scale
        weights = np.exp(scores - scores.max())
        out[row, place, head] = weights / weights.sum() @ value[row, seen, head // group]
    return out


def test_a_token_sees_the_prompt_and_its_own_branch_of_its_own_segment():
    seen = np.asarray(visible(jnp.asarray(SEGMENT), jnp.asarray(BRANCH)))[0]
    expected = {0: [0], 1: [0, 1], 2: [0, 1, 2], 3: [0, 1, 3], 4: [0, 1, 3, 4], 5: [5], 6: [5, 6], 7: [5, 7]}
    for place, keys in expected.items():
        assert np.flatnonzero(seen[place]).tolist() == keys


def test_padding_sees_nothing_real_and_nothing_real_sees_padding():
    seen = np.asarray(visible(jnp.asarray(SEGMENT), jnp.asarray(BRANCH)))[0]
    assert not seen[8:, :8].any()
    assert not seen[:8, 8:].any()


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_every_mechanism_is_a_masked_softmax_over_grouped_heads(mechanism):
    query, key, value = inputs()
    segment, branch = np.repeat(SEGMENT, 2, 0), np.repeat(BRANCH, 2, 0)
    mask = np.asarray(visible(segment, branch))
    expected = written_out(query, key, value, mask, 0.3)
    given = attend(query, key, value, jnp.asarray(mask), scale=0.3, mechanism=mechanism)
    np.testing.assert_allclose(given, expected, atol=1e-5)
    attention = packed_attention(
        mechanism, jnp.asarray(segment), jnp.asarray(branch), scale=0.3, mesh=make_mesh(ONE_DEVICE)
    )
    given, real = attention(query, key, value, None), segment > 0
    np.testing.assert_allclose(np.asarray(given)[real], expected[real], atol=1e-5)


@pytest.mark.parametrize("mechanism", MECHANISMS)
@pytest.mark.parametrize("dtype", [np.float32, jnp.bfloat16])
def test_a_query_without_keys_gives_finite_numbers_and_gradients(mechanism, dtype):
    arguments = inputs(dtype=dtype)
    mask = jnp.ones((2, 10, 10), bool).at[:, 4].set(False)

    def total(query, key, value):
        out = attend(query, key, value, mask, scale=0.3, mechanism=mechanism)
        return jnp.sum(out.astype(jnp.float32)[:, 5:]), out

    gradients, out = jax.grad(total, argnums=(0, 1, 2), has_aux=True)(*arguments)
    assert out.dtype == dtype
    assert all(np.isfinite(np.asarray(x, np.float32)).all() for x in (*gradients, out))
    assert not np.asarray(gradients[0], np.float32)[:, 4].any()


def test_dropout_keeps_the_mean_and_drops_the_given_share():
    query, key, value = inputs(rows=1, length=64, heads=4)
    mask = jnp.ones((1, 64, 64), bool)
    # With equal scores and values of one, what comes out is the mean of the kept weights over their rate.
    dropout = (jax.random.key(0), 0.25)
    out = attend(0 * query, key, 0 * value + 1, mask, scale=1.0, mechanism="vanilla", dropout=dropout)
    assert float(out.mean()) == pytest.approx(1.0, abs=0.02)
    assert float(out[..., 0].std()) == pytest.approx(np.sqrt(0.25 / 0.75 / 64), rel=0.2)


@pytest.mark.parametrize(
    ("name", "platform", "rate", "resolved"),
    [
        ("auto", "cpu", 0.0, "blockwise"),
        ("auto", "gpu", 0.0, "sdpa"),
        ("auto", "gpu", 0.1, "vanilla"),
        ("auto", "cpu", 0.1, "vanilla"),
        ("sdpa", "cpu", 0.0, "sdpa"),
    ],
)
def test_auto_picks_by_platform(name, platform, rate, resolved):
    assert resolve_mechanism(name, platform=platform, dropout_rate=rate) == resolved


def test_an_unknown_mechanism_is_refused_with_those_supported():
    with pytest.raises(ConfigError, match=r"'flash_attn2' is not supported.*Supported: auto, vanilla, blockwise, sdpa"):
        resolve_mechanism("flash_attn2", platform="gpu")


@pytest.mark.parametrize("mechanism", ["blockwise", "sdpa"])
def test_dropout_with_a_mechanism_that_has_none_is_refused(mechanism):
    with pytest.raises(ConfigError, match=r"no dropout and attention_dropout is 0\.1"):
        resolve_mechanism(mechanism, platform="gpu", dropout_rate=0.1)
    segment, branch = jnp.asarray(SEGMENT), jnp.asarray(BRANCH)
    attention = packed_attention(mechanism, segment, branch, scale=1.0, mesh=make_mesh(ONE_DEVICE))
    with pytest.raises(ConfigError, match="no dropout"):
        attention(*inputs(rows=1), (jax.random.key(0), 0.1))
