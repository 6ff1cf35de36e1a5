"""Other pairs and weights have other fingerprints, equal ones equal ones, wherever they lie."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from easydel.data.pair import Pair
from easydel.sharding import make_mesh
from easydel.trainers import fingerprints
from easydel.trainers.fingerprints import pairs_fingerprint, two_vectors_fingerprint, weights_fingerprints
from oracles.tiny import tiny_pairs

PAIR = Pair([1, 2], [3, 4], [5], index=0)


@pytest.mark.parametrize(
    "other",
    [
        [PAIR._replace(prompt=[1, 3])],
        [PAIR._replace(prompt=[1], chosen=[2, 3, 4])],  # the same ids, cut elsewhere
        [PAIR._replace(chosen=[5], rejected=[3, 4])],
        [PAIR._replace(weight=0.5)],
        [PAIR._replace(index=1)],
        [PAIR._replace(chosen_context=1)],
        [PAIR._replace(chosen_trained=[True, False])],
        [PAIR._replace(chosen_trained=[False, True])],
        [PAIR, PAIR],
        [],
    ],
)
def test_other_pairs_have_another_fingerprint(other):
    assert pairs_fingerprint(other) != pairs_fingerprint([PAIR])


def test_equal_pairs_have_equal_fingerprints_and_their_order_counts():
    pairs = tiny_pairs(4)
    assert pairs_fingerprint(pairs) == pairs_fingerprint([Pair(*map(_copied, pair)) for pair in pairs])
    assert pairs_fingerprint(pairs) != pairs_fingerprint(pairs[::-1])
    assert len(pairs_fingerprint(pairs)) == 16


def _copied(value):
    return list(value) if isinstance(value, list) else value


def random(*shape: int, dtype: str = "float32", seed: int = 0) -> jax.Array:
    bits = np.random.default_rng(seed).integers(0, 256, (*shape, np.dtype(dtype).itemsize), np.uint8)
    return jnp.asarray(bits.view(dtype)[..., 0])  # NaN and all


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "uint8", "int8"])
@pytest.mark.parametrize("shape", [(), (5,), (4, 6), (3, 2, 700), (0, 3)])
@pytest.mark.parametrize("spec", [(), ("dp",), ("dp", "fsdp"), (None, "fsdp"), (("dp", "fsdp"),)])
def test_weights_are_the_same_read_by_the_host_or_by_devices_that_they_are_split_over(
    shape, dtype, spec, monkeypatch: pytest.MonkeyPatch
):
    whole = random(*shape, dtype=dtype)
    expected = weights_fingerprints({"w": whole})
    monkeypatch.setattr(fingerprints, "_ON_HOST", -1)
    assert weights_fingerprints({"w": whole}) == expected
    mesh = make_mesh((2, 2, 1, 2, 1))
    axes = spec[: len(shape)]
    if all(size % (4 if isinstance(axis, tuple) else 2) == 0 for size, axis in zip(shape, axes, strict=False) if axis):
        place = NamedSharding(mesh, PartitionSpec(*axes))  # `device_put` may make another NaN of one
        split = jax.make_array_from_callback(shape, place, np.asarray(whole).__getitem__)
        assert weights_fingerprints({"w": split}) == expected


def test_an_array_is_read_in_parts_of_any_size_to_the_same_sum(monkeypatch: pytest.MonkeyPatch):
    array = random(50, 7)
    expected = weights_fingerprints(array)
    for at_once in (1, 8, 100):
        monkeypatch.setattr(fingerprints, "_AT_ONCE", at_once)
        assert weights_fingerprints(array) == expected


@pytest.mark.parametrize("where", ["host", "devices"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "uint8"])
def test_every_bit_and_every_place_counts(where: str, dtype: str, monkeypatch: pytest.MonkeyPatch):
    if where == "devices":
        monkeypatch.setattr(fingerprints, "_ON_HOST", -1)
    start = np.asarray(random(2, 3, 4, dtype=dtype))
    found = {weights_fingerprints(jnp.asarray(start))[0]}
    flat = start.reshape(-1)
    bits = f"uint{8 * start.dtype.itemsize}"
    for at in range(flat.size):
        for bit in range(8 * start.dtype.itemsize):
            other = flat.copy().view(bits)
            other[at] ^= np.array(1 << bit, bits)
            found.add(weights_fingerprints(jnp.asarray(other.view(flat.dtype).reshape(start.shape)))[0])
    assert len(found) == 1 + flat.size * 8 * start.dtype.itemsize
    signs = flat.copy()
    signs.view(np.uint8)[start.dtype.itemsize - 1 :: start.dtype.itemsize] ^= 0x80  # all at once
    swapped, turned = start.copy(), start[:, ::-1]
    swapped[0, 0, 0], swapped[1, 2, 3] = start[1, 2, 3], start[0, 0, 0]
    for other in (signs.reshape(start.shape), swapped, turned, start.swapaxes(0, 1), start.reshape(3, 2, 4)):
        found.add(weights_fingerprints(jnp.asarray(other.copy()))[0])
    assert len(found) == 6 + flat.size * 8 * start.dtype.itemsize


def test_names_dtypes_and_shapes_count_and_no_weights_give_nothing():
    zeros = jnp.zeros((2, 4))
    trees = [{"a": zeros}, {"b": zeros}, zeros, zeros.astype("bfloat16"), zeros.reshape(4, 2), {}]
    found = weights_fingerprints(*trees)
    assert len(set(found)) == len(trees)
    assert [len(each) for each in found] == [16] * 5 + [0]


def test_weights_that_two_trees_share_are_read_once(monkeypatch: pytest.MonkeyPatch):
    read: list[int] = []
    usual = fingerprints._sums
    monkeypatch.setattr(fingerprints, "_sums", lambda array: [read.append(id(array)), usual(array)][1])
    one, other = random(3), random(3, seed=1)
    found = weights_fingerprints({"w": one}, {"w": one, "v": other}, {"w": one})
    assert sorted(read) == sorted([id(one), id(other)])
    assert found[0] == found[2] == weights_fingerprints({"w": one})[0] != found[1]


def test_the_fingerprint_of_format_version_1_is_what_it_was():
    """As the checkpoints have it that were written by that version."""
    weights = {"a": jnp.arange(24, dtype="float32").reshape(2, 3, 4), "b": jnp.ones(5)}
    assert two_vectors_fingerprint(weights) == "c0e71229532eba0a"
    assert two_vectors_fingerprint({}) == ""
