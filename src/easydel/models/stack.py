"""Runs a stack of layers: those that repeat in a loop, with the few that differ side by side inside of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp

from easydel.models.kinds import MIXER_NAMES, NORMS, Layer

_Kind = TypeVar("_Kind")
ByName = Mapping[str, Any]
# (kind, x, the layer's weights, its slices of the inputs) -> (x, what it keeps, by name)
Step = Callable[[Layer, jax.Array, ByName, ByName], tuple[jax.Array, ByName]]
# Layers have one of the two; what is of none of these names is of every layer.
_DENSE = ("gate_up", "gate", "up", "down")
_SPARSE = ("router", "experts", "shared_gate", "shared_up", "shared_down", "shared_router")
# What layers of one mixer alone have, besides what is named after it: of attention the weights have names of their own.
_ATTENTION = ("qkv", "query", "key", "value", "output", "query_norm", "key_norm")


@partial(jax.tree_util.register_dataclass, data_fields=("frozen", "others"), meta_fields=("layers",))
@dataclass(frozen=True)
class SideBySide:
    """A stack of layers as two, of which one is frozen: joined, they would have one gradient, as large as both.

    Attributes:
        frozen: leaves with a leading axis of the frozen layers, in order.
        others: the same of the other layers.
        layers: which are frozen, counted in the whole stack.
    """

    frozen: Any
    others: Any
    layers: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.layers) + len(jax.tree.leaves(self.others)[0])


class _Place(NamedTuple):
    """What a layer is, and where its weights lie: layers that are equal in both are compiled once."""

    kind: Layer
    halves: tuple[int | None, ...]  # for each weight and input which of its halves the layer is in, see `_Halves`


def run_stack(
    step: Step, x: jax.Array, weights: ByName, inputs: ByName, kinds: Sequence[Layer], *, unrolled: bool
) -> tuple[jax.Array, dict[str, Any]]:
    """Returns (x after all layers, what they kept, by name, stacked on a leading axis of the layers that have it).

    Args:
        weights, inputs: by name; their leaves have a leading axis of the layers that have them, in order, or are
            `SideBySide`: then the layers are cut into pieces at the borders between frozen and other ones.
        kinds: of the layers. Where they repeat, as (window, window, none) does in some families, the loop goes once
            around for every repetition; kinds are known when its body is compiled.
        unrolled: no loop, each layer is compiled.
    """
    halves, tree = jax.tree.flatten((_halves(weights, kinds), _halves(inputs, kinds)))
    places = [_Place(kind, tuple(each.of(layer) for each in halves)) for layer, kind in enumerate(kinds)]
    kept: dict[str, list[Any]] = {}
    first = 0
    for pattern, count in repetitions(places):
        end = first + len(pattern) * count
        turn = (count,) if len(pattern) == 1 else (count, -1)
        x, outs = _repeat(step, x, [each.turns(first, end, turn) for each in halves], tree, pattern, count, unrolled)
        for name, found in outs.items():
            kept.setdefault(name, []).append(found)
        first = end
    return x, {name: _joined(jnp.concatenate, trees) for name, trees in kept.items()}


def repetitions(kinds: Sequence[_Kind]) -> list[tuple[Sequence[_Kind], int]]:
    """Returns the kinds as patterns with the times that each repeats, one after another.

    Always the pattern that gets furthest, and the shortest of those.

    >>> repetitions("aabaabaa")
    [('aab', 2), ('a', 2)]
    >>> repetitions("aaaabb")
    [('a', 4), ('b', 2)]
    """
    found, place = [], 0
    while place < len(kinds):
        rest = kinds[place:]
        best = (rest[:1], 1)
        for length in range(1, len(rest) // 2 + 1):
            count = 1
            while rest[count * length : (count + 1) * length] == rest[:length]:
                count += 1
            if count > 1 and count * length > len(best[0]) * best[1]:
                best = (rest[:length], count)
        found.append(best)
        place += len(best[0]) * best[1]
    return found


def _repeat(
    step: Step, x: jax.Array, given: list[Any], tree: Any, pattern: Sequence[_Place], count: int, unrolled: bool
) -> tuple[jax.Array, ByName]:
    """Runs a pattern of layers `count` times; leaves of what each kept are [layers, ...].

    `given` are the halves of weights and inputs, which are the leaves of `tree`. Leaves are [turns of the loop, layers
    of a turn, ...], or [turns, ...] where a turn is one layer. That one is then given its weights as they come out of
    the loop, so that a backward pass that starts from them reads them where they are: of anything made from them, such
    as a layer out of several, the loop keeps a copy for each turn.
    """
    scan = partial(jax.lax.scan, length=count, unroll=count if unrolled else 1)

    def one_layer(x: jax.Array, at: int, halves: list[Any]) -> tuple[jax.Array, ByName]:
        kind, mine = pattern[at]
        found = []
        for number, (which, leaves) in enumerate(zip(mine, halves, strict=True)):
            before = sum(place.halves[number] == which for place in pattern[:at])
            found.append(None if which is None else _at(leaves[which], before) if len(pattern) > 1 else leaves[which])
        weights, inputs = (
            {name: value for name, value in named.items() if _has(kind, name)}
            for named in jax.tree.unflatten(tree, found)
        )
        return step(kind, x, weights, inputs)

    if len(pattern) == 1:
        return scan(lambda x, turn: one_layer(x, 0, turn), x, given)

    def body(x: jax.Array, turn: list[Any]) -> tuple[jax.Array, ByName]:
        outs: dict[str, list[Any]] = {}
        for at in range(len(pattern)):
            x, out = one_layer(x, at, turn)
            for name, found in out.items():
                outs.setdefault(name, []).append(found)
        return x, {name: _joined(jnp.stack, trees) for name, trees in outs.items()}

    x, outs = scan(body, x, given)
    return x, jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), outs)


def _joined(join: Callable[[Sequence[jax.Array]], jax.Array], trees: Sequence[Any]) -> Any:
    return trees[0] if join is jnp.concatenate and len(trees) == 1 else jax.tree.map(lambda *x: join(x), *trees)


def _has(kind: Layer, name: str) -> bool:
    """Returns whether a layer has the weight, or what is kept, of that name."""
    if name in _ATTENTION:
        return kind.mixer == "attention"
    if name in NORMS:
        return kind.norms in ("all", NORMS[name])
    return name == kind.mixer if name in MIXER_NAMES else name not in (_DENSE if kind.sparse else _SPARSE)


@dataclass(frozen=True)
class _Halves:
    """A weight or input of all layers: a stack of those that have it, or two side by side. A leaf, as jax sees it.

    Attributes:
        stacks: leaves with a leading axis of layers.
        layers: which these are.
    """

    stacks: tuple[Any, ...]
    layers: tuple[tuple[int, ...], ...]

    def of(self, layer: int) -> int | None:
        """Returns which stack a layer is in, None where it does not have the weight."""
        return next((number for number, layers in enumerate(self.layers) if layer in layers), None)

    def turns(self, first: int, end: int, turn: tuple[int, ...]) -> tuple[Any, ...]:
        """Returns what the layers from `first` to `end` have of each stack, None of one that they are not in."""
        found = []
        for stack, layers in zip(self.stacks, self.layers, strict=True):
            start, size = (sum(low <= layer < high for layer in layers) for low, high in ((0, first), (first, end)))
            cut = partial(_turns, start=start, size=size, turn=turn)
            found.append(jax.tree.map(cut, stack) if size else None)
        return tuple(found)


def _halves(named: ByName, kinds: Sequence[Layer]) -> dict[str, Any]:
    """Returns what is named with `_Halves` as their leaves."""

    def of(leaf: Any, name: str) -> _Halves:
        layers = tuple(layer for layer, kind in enumerate(kinds) if _has(kind, name))
        if not isinstance(leaf, SideBySide):
            return _Halves((leaf,), (layers,))
        frozen = tuple(layers[number] for number in leaf.layers)
        return _Halves((leaf.frozen, leaf.others), (frozen, tuple(layer for layer in layers if layer not in frozen)))

    return {
        name: jax.tree.map(partial(of, name=name), tree, is_leaf=lambda leaf: isinstance(leaf, SideBySide))
        for name, tree in named.items()
    }


def _turns(leaf: jax.Array, *, start: int, size: int, turn: tuple[int, ...]) -> jax.Array:
    """Returns `size` layers of a stack, their axis in the shape `turn`, see `_repeat`."""
    mine = leaf if size == leaf.shape[0] else leaf[start : start + size]
    return mine.reshape(*turn, *leaf.shape[1:])


def _at(tree: Any, place: int) -> Any:
    """Returns one layer of a turn. A split and not an index, whose gradient would be as large as the turn."""
    return jax.tree.map(lambda leaf: jnp.squeeze(jax.lax.split(leaf, [1] * leaf.shape[0])[place], 0), tree)
