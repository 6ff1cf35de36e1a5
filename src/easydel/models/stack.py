"""Runs a stack of layers: those that repeat in a loop, with the few that differ side by side inside of it."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from easydel.models.kinds import MIXER_NAMES, NORMS, Layer

ByName = Mapping[str, Any]
# (kind, x, the layer's weights, its slices of the inputs) -> (x, what it keeps, by name)
Step = Callable[[Layer, jax.Array, ByName, ByName], tuple[jax.Array, ByName]]
# Layers have one of the two; what is of none of these names is of every layer.
_DENSE, _SPARSE = ("gate_up", "gate", "up", "down"), ("router", "experts")
# What layers of one mixer alone have, besides what is named after it: of attention the weights have names of their own.
_ATTENTION = ("qkv", "query", "key", "value", "output", "query_norm", "key_norm")


def run_stack(
    step: Step, x: jax.Array, weights: ByName, inputs: ByName, kinds: Sequence[Layer], *, unrolled: bool
) -> tuple[jax.Array, dict[str, Any]]:
    """Returns (x after all layers, what they kept, by name, stacked on a leading axis of the layers that have it).

    Args:
        weights, inputs: by name; their leaves have a leading axis of the layers that have them, in order.
        kinds: of the layers. Where they repeat, as (window, window, none) does in some families, the loop goes once
            around for every repetition; kinds are known when its body is compiled.
        unrolled: no loop, each layer is compiled.
    """
    kept: dict[str, list[Any]] = {}
    place = 0
    for pattern, count in repetitions(kinds):
        turn = (count,) if len(pattern) == 1 else (count, -1)
        turns = partial(_turns, kinds=kinds, first=place, end=place + len(pattern) * count, turn=turn)
        mine, given = (
            {
                name: jax.tree.map(partial(turns, name), tree)
                for name, tree in named.items()
                if any(_has(kind, name) for kind in pattern)
            }
            for named in (weights, inputs)
        )
        x, outs = _repeat(step, x, mine, given, pattern, count, unrolled)
        for name, tree in outs.items():
            kept.setdefault(name, []).append(tree)
        place += len(pattern) * count
    return x, {name: _joined(jnp.concatenate, trees) for name, trees in kept.items()}


def repetitions(kinds: Sequence[Layer]) -> list[tuple[Sequence[Layer], int]]:
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
    step: Step, x: jax.Array, weights: ByName, inputs: ByName, pattern: Sequence[Layer], count: int, unrolled: bool
) -> tuple[jax.Array, ByName]:
    """Runs a pattern of layers `count` times; leaves of what each kept are [layers, ...].

    Leaves are [turns of the loop, layers of a turn, ...], or [turns, ...] where a turn is one layer. That one is then
    given its weights as they come out of the loop, so that a backward pass that starts from them reads them where they
    are: of anything made from them, such as a layer out of several, the loop keeps a copy for each turn.
    """
    scan = partial(jax.lax.scan, length=count, unroll=count if unrolled else 1)
    if len(pattern) == 1:
        return scan(lambda x, turn: step(pattern[0], x, *turn), x, (weights, inputs))

    def body(x: jax.Array, turn: tuple[ByName, ByName]) -> tuple[jax.Array, ByName]:
        outs: dict[str, list[Any]] = {}
        for at, kind in enumerate(pattern):
            mine, given = (
                {name: _at(tree, _rank(name, pattern, at)) for name, tree in named.items() if _has(kind, name)}
                for named in turn
            )
            x, out = step(kind, x, mine, given)
            for name, tree in out.items():
                outs.setdefault(name, []).append(tree)
        return x, {name: _joined(jnp.stack, trees) for name, trees in outs.items()}

    x, outs = scan(body, x, (weights, inputs))
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


def _rank(name: str, kinds: Sequence[Layer], place: int) -> int:
    """Returns how many layers before that place have the weight."""
    return sum(_has(kind, name) for kind in kinds[:place])


def _turns(
    name: str, leaf: jax.Array, *, kinds: Sequence[Layer], first: int, end: int, turn: tuple[int, ...]
) -> jax.Array:
    """Returns what the layers from `first` to `end` have of a weight, their axis in the shape `turn`, see `_repeat`."""
    start, stop = _rank(name, kinds, first), _rank(name, kinds, end)
    mine = leaf if stop - start == leaf.shape[0] else leaf[start:stop]
    return mine.reshape(*turn, *leaf.shape[1:])


def _at(tree: Any, place: int) -> Any:
    """Returns one layer of a turn. A split and not an index, whose gradient would be as large as the turn."""
    return jax.tree.map(lambda leaf: jnp.squeeze(jax.lax.split(leaf, [1] * leaf.shape[0])[place], 0), tree)
