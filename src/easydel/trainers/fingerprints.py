"""Hashes that tell one set of pairs, or of weights, from another."""

import hashlib
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree, UInt32

from easydel.data.pair import NEUTRAL, Pair
from easydel.processes import on_host

Sums = UInt32[np.ndarray, "2"] | UInt32[jax.Array, "2"]

# Arrays of more elements are read where they lie; a program for fewer takes longer to compile than they to read.
_ON_HOST = 1 << 22
_AT_ONCE = 1 << 17  # elements that numpy reads at a time: what it makes of them stays in the cache of the processor
# The multipliers of a mixing function of 32 bits with little bias, https://nullprogram.com/blog/2018/07/31/.
_FIRST, _SECOND = np.uint32(0x7FEB352D), np.uint32(0x846CA68B)
_AXIS = 0x9E3779B9  # tells the places along one axis from those along another


def pairs_fingerprint(pairs: Sequence[Pair]) -> str:
    """Returns 16 hex digits that tell one list of tokenized pairs from another."""
    digest = hashlib.sha256()
    for pair in pairs:
        for ids in (
            pair.prompt,
            pair.chosen,
            pair.rejected,
            [pair.chosen_context, pair.rejected_context, pair.index],
            *pair.masks,
        ):
            digest.update(np.asarray([len(ids), *ids], np.int64).tobytes())
        digest.update(np.asarray([pair.weight, pair.margin], np.float64).tobytes())
        if pair.numbers[2:] != NEUTRAL[2:]:  # of pairs without them it stays what it was
            digest.update(np.asarray(pair.numbers[2:], np.float64).tobytes())
    return digest.hexdigest()[:16]


def weights_fingerprints(*trees: PyTree) -> list[str]:
    """Returns for each tree of weights 16 hex digits that tell it from another; no weights at all give "".

    All weights are read, bit for bit. An array's part in it is a sum, modulo 2^32, over hashes of its elements with
    their places: integers, so that no order of adding and no devices that the array is split over change it, and no
    process needs more than its own part. Arrays that several trees share are read once.
    """
    known: dict[int, bytes] = {}
    for leaf in jax.tree.leaves(trees):
        if id(leaf) not in known:
            known[id(leaf)] = np.asarray(_sums(leaf)).tobytes()
    return [_digest(tree, known) for tree in trees]


def two_vectors_fingerprint(params: PyTree) -> str:
    """Returns what checkpoints of format version 1 have for weights: a hash of two vectors of each array."""
    digest = hashlib.sha256()
    leaves = jax.tree.leaves(params)
    if not leaves:
        return ""
    for leaf in leaves:
        leading = leaf.shape[:-1]
        for place in ((0,) * len(leading), tuple(size // 2 for size in leading)):
            digest.update(on_host(leaf[place]).tobytes())
    return digest.hexdigest()[:16]


def _digest(tree: PyTree, known: dict[int, bytes]) -> str:
    leaves = jax.tree.leaves_with_path(tree)
    digest = hashlib.sha256()
    for path, leaf in leaves:
        digest.update(f"{jax.tree_util.keystr(path)} {leaf.dtype}{list(leaf.shape)}".encode())
        digest.update(known[id(leaf)])
    return digest.hexdigest()[:16] if leaves else ""


def _sums(array: jax.Array) -> Sums:
    if array.size > _ON_HOST or not array.is_fully_addressable:
        return _on_devices(array)
    whole = np.atleast_1d(np.asarray(array))
    rows = max(1, _AT_ONCE // max(1, whole[0].size)) if len(whole) else 1
    parts = [hashed(whole[first : first + rows], np, first) for first in range(0, len(whole), rows)]
    return np.asarray(sum(parts, np.zeros(2, np.uint32)))


@jax.jit
def _on_devices(array: jax.Array) -> UInt32[jax.Array, "2"]:
    return hashed(jnp.atleast_1d(array), jnp, 0)


def hashed(array: Any, xp: Any, first: int) -> Any:
    """Returns two sums, uint32 [2], over hashes of the elements of an array and their places.

    Args:
        array: of numpy or jax.
        xp: `numpy` or `jax.numpy`, whichever it is of.
        first: the place of `array[0]` along the first axis.
    """
    bits = array.view(f"uint{8 * array.dtype.itemsize}").astype(xp.uint32)
    place = xp.zeros((1,) * array.ndim, xp.uint32)
    for axis, size in enumerate(array.shape):
        along = xp.arange(size, dtype=xp.uint32) + np.uint32((first if axis == 0 else 0) + axis * _AXIS & 0xFFFFFFFF)
        place = place + _mixed(along).reshape([-1 if axis == other else 1 for other in range(array.ndim)])
    one = _mixed(bits ^ place)
    other = (one ^ (one >> np.uint32(13))) * _SECOND
    return xp.stack([xp.sum(one, dtype=xp.uint32), xp.sum(other, dtype=xp.uint32)])


def _mixed(bits: Any) -> Any:
    bits = (bits ^ (bits >> np.uint32(16))) * _FIRST
    bits = (bits ^ (bits >> np.uint32(15))) * _SECOND
    return bits ^ (bits >> np.uint32(16))
