"""Dense attention: the same numbers however many queries are computed at a time, in memory that rows do not raise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from easydel.ops import dense
from easydel.ops.attention import MECHANISMS, packed_attention
from easydel.ops.dense import Step, step_of
from easydel.sharding import make_mesh
from oracles.tiny import ONE_DEVICE

ROWS, LENGTH, HEADS = 4, 40, 4


def some_layout():
    """Two pairs and padding in each row, one row empty."""
    segment = np.repeat([[1] * 17 + [2] * 15 + [0] * 8], ROWS, 0)
    branch = np.repeat([[0] * 6 + [1] * 5 + [2] * 6 + [0] * 4 + [1] * 8 + [2] * 3 + [0] * 8], ROWS, 0)
    place = [*range(6), *range(6, 11), *range(6, 12), *range(4), *range(4, 12), *range(4, 7), *[0] * 8]
    position = np.repeat([place], ROWS, 0)
    segment[2], branch[2], position[2] = 0, 0, 0
    return tuple(jnp.asarray(x) for x in (segment, branch, position))


def some_inputs():
    rng = np.random.default_rng(0)
    shapes = (ROWS, LENGTH, HEADS, 8), (ROWS, LENGTH, 2, 8), (ROWS, LENGTH, 2, 8)
    return tuple(jnp.asarray(rng.standard_normal(shape), jnp.float32) for shape in shapes)


def out_and_gradients(monkeypatch, room, mechanism, dims=ONE_DEVICE, dropout=None, **settings):
    monkeypatch.setattr(dense, "room_on", lambda platform: room)
    layout = some_layout()
    real = (layout[0] > 0)[..., None, None]

    def total(query, key, value):
        mix = packed_attention(mechanism, *layout, scale=0.3, mesh=make_mesh(dims), **settings)
        out = jnp.where(real, mix(query, key, value, dropout), 0.0)
        return jnp.sum(jnp.sin(out)), out

    gradients, out = jax.jit(jax.grad(total, argnums=(0, 1, 2), has_aux=True))(*some_inputs())
    return out, *gradients


@pytest.mark.parametrize(("mechanism", "settings"), [("vanilla", {"score_cap": 1.5, "window": 5}), ("sdpa", {})])
@pytest.mark.parametrize("room", [1, 30_000, 60_000])  # some queries of a row, a row, two rows
def test_the_numbers_do_not_depend_on_how_many_queries_are_computed_at_a_time(monkeypatch, mechanism, settings, room):
    whole = out_and_gradients(monkeypatch, 2**30, mechanism, **settings)
    for found, expected in zip(out_and_gradients(monkeypatch, room, mechanism, **settings), whole, strict=True):
        np.testing.assert_allclose(found, expected, atol=2e-6)


@pytest.mark.parametrize("dims", [ONE_DEVICE, (2, 2, 1, 2, 1), (1, 2, 1, 1, 4)], ids=str)
def test_what_is_dropped_depends_neither_on_the_queries_at_a_time_nor_on_the_devices(monkeypatch, dims):
    dropout = jax.random.key(3), 0.25
    whole = out_and_gradients(monkeypatch, 2**30, "vanilla", dropout=dropout)
    plain = out_and_gradients(monkeypatch, 2**30, "vanilla")
    assert float(jnp.abs(whole[0] - plain[0]).max()) > 0.1
    for found, expected in zip(out_and_gradients(monkeypatch, 1, "vanilla", dims, dropout), whole, strict=True):
        np.testing.assert_allclose(found, expected, atol=2e-6)


@pytest.mark.parametrize("mechanism", [name for name, each in MECHANISMS.items() if each.dense_mask])
def test_what_attention_has_alive_does_not_grow_with_the_rows(mechanism):
    """Beside query, key and value, what comes out, and their gradients, which are as many as there are tokens."""

    def temporaries(rows, length=512):
        layout = (jnp.ones((rows, length), jnp.int32), jnp.zeros((rows, length), jnp.int32))
        place = jnp.broadcast_to(jnp.arange(length), (rows, length))
        mix = packed_attention(mechanism, *layout, place, scale=1.0, mesh=make_mesh(ONE_DEVICE))

        def total(query, key, value):
            return jnp.sum(mix(query, key, value, None))

        form = jax.ShapeDtypeStruct((rows, length, 8, 8), jnp.float32)
        compiled = jax.jit(jax.grad(total, argnums=(0, 1, 2))).lower(form, form, form).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    tokens = 8 * 512 * 8 * 8 * 4
    assert temporaries(16) - temporaries(8) < 8 * tokens
    assert 16 * tokens < 8 * 8 * 512 * 512 * 4  # what the scores of eight more rows would take
    assert temporaries(8) < 8 * tokens + 2 * dense.COPIES * dense.ROOM["cpu"]


@pytest.mark.parametrize(("rows", "queries", "room"), [(6, 512, 2**20), (5, 100, 2**16), (1, 8, 1), (7, 64, 2**30)])
def test_a_step_fits_its_room_or_is_the_smallest_there_is(rows, queries, room):
    step = step_of(rows, queries, queries, 8, room)
    assert rows % step.rows == 0
    assert step.scores(8, queries) <= room or step == Step(1, 8)
    assert step.rows == 1 or step.queries == queries
