"""The weight table: how each tensor of a Hugging Face folder becomes one of our arrays, and back.

A row is (name in the file, our path, pattern). The pattern `"(heads head_dim) embed -> embed heads head_dim"`
says how the file's axes split and where they go; its right side is the shape and the logical axes of our
array. A row whose name has `{layer}` stands for one tensor per layer; our array stacks them on a leading axis
`layers`, and those of each `{expert}` on an axis `experts` behind it. Where a tensor of the file holds several arrays
side by side, such as Phi-3's `qkv_proj`, each of them has a row of that name and says which part it is.
"""

import re
from collections.abc import Mapping, Sequence
from itertools import product
from math import prod
from typing import Any, NamedTuple

import numpy as np

Sizes = Mapping[str, int]  # the size of every named axis, `layers` among them


class Part(NamedTuple):
    """Which of the arrays that lie side by side along the first axis of a tensor, and the axes of each of them."""

    number: int
    groups: tuple[str, ...]

    def places(self, sizes: Sizes) -> slice:
        """Returns where along that axis the part lies."""
        widths = [prod(sizes[axis] for axis in group.split()) for group in self.groups]
        start = sum(widths[: self.number])
        return slice(start, start + widths[self.number])

    def whole(self, sizes: Sizes) -> int:
        """Returns the size of that axis."""
        return sum(prod(sizes[axis] for axis in group.split()) for group in self.groups)


class Tensor(NamedTuple):
    """How a tensor of the file lies in one of our arrays, which may hold one for each layer and expert.

    Attributes:
        name: in the file, with `{layer}` and `{expert}`. Arrays of one name lie side by side, along its first axis.
        groups: for each axis of the tensor, the axes of our array that it is split into. The others are stacks.
    """

    name: str
    groups: tuple[tuple[int, ...], ...]

    @property
    def between_activations(self) -> bool:
        """Whether it is a matrix that a layer multiplies with, unlike vectors and the tables of embedding and head."""
        return "{layer}" in self.name and len(self.groups) == 2


class Row(NamedTuple):
    """One line of the table.

    Attributes:
        name: in the file, with `{layer}` and `{expert}` where there is one for each.
        path: in our nested dict.
        pattern: how the axes of the file become ours.
        start: what a fresh model begins with: 'normal', 'zeros' or 'ones'.
        layers: the layers that have it; None is all.
        part: of the tensor, where it holds several arrays; None is the whole.
        dtype: it is kept, and written, in this one whatever the others have; None is theirs. No row that shares its
            tensor has one.
    """

    name: str
    path: tuple[str, ...]
    pattern: str
    start: str = "normal"
    layers: tuple[int, ...] | None = None
    part: Part | None = None
    dtype: str | None = None

    @property
    def stacked(self) -> bool:
        """Whether the row stands for one tensor per layer."""
        return "{layer}" in self.name

    @property
    def sides(self) -> tuple[list[list[str]], tuple[str, ...]]:
        """The axes of the file, grouped, and those of our array without `layers`.

        Raises:
            ValueError: the two sides of the pattern do not name the same axes.
        """
        left, right = self.pattern.split("->")
        groups, ours = [group.strip("()").split() for group in re.findall(r"\([^)]*\)|\w+", left)], tuple(right.split())
        if sorted(axis for group in groups for axis in group) != sorted(ours):
            raise ValueError(f"The two sides of the pattern {self.pattern!r} do not name the same axes.")
        return groups, ours

    @property
    def axes(self) -> tuple[str, ...]:
        """The logical axes of our array, those that tensors are stacked on first."""
        stacks = tuple(axis for axis, mark in (("layers", "{layer}"), ("experts", "{expert}")) if mark in self.name)
        return (*stacks, *self.sides[1])

    @property
    def tensor(self) -> Tensor:
        """How each tensor, or our part of it, lies in our array."""
        return Tensor(self.name, tuple(tuple(map(self.axes.index, group)) for group in self.sides[0]))

    def shape(self, sizes: Sizes) -> tuple[int, ...]:
        """Returns the shape of our array."""
        return (*self.stack(sizes), *(sizes[axis] for axis in self.sides[1]))

    def stack(self, sizes: Sizes) -> tuple[int, ...]:
        """Returns how many tensors are stacked, for each axis that they are stacked on."""
        layers, experts = self._stacked(sizes)
        return tuple(len(each) for each in (layers, experts) if each is not None)

    def names(self, sizes: Sizes) -> list[str]:
        """Returns the names in the file, in the order of our array: one per layer and expert, or one."""
        layers, experts = self._stacked(sizes)
        return [
            self.name.format(layer=layer, expert=expert) for layer, expert in product(layers or [0], experts or [0])
        ]

    def file_shape(self, sizes: Sizes) -> tuple[int, ...]:
        """Returns the shape of each tensor in the file."""
        own = self._own_shape(sizes)
        return own if self.part is None else (self.part.whole(sizes), *own[1:])

    def from_file(self, tensor: np.ndarray, sizes: Sizes) -> np.ndarray:
        """Returns one tensor of the file, or our part of it, in our axes (without those of the stack); a view.

        >>> row = Row("w", ("w",), "(heads head_dim) embed -> embed heads head_dim")
        >>> row.from_file(np.zeros((6, 5)), {"heads": 2, "head_dim": 3, "embed": 5}).shape
        (5, 2, 3)
        """
        groups, ours = self.sides
        flat = [axis for group in groups for axis in group]
        mine = tensor if self.part is None else tensor[self.part.places(sizes)]
        return mine.reshape([sizes[axis] for axis in flat]).transpose([flat.index(axis) for axis in ours])

    def to_file(self, array: np.ndarray, sizes: Sizes) -> np.ndarray:
        """Returns the tensor of the file, or our part of it: the inverse of `from_file`, contiguous."""
        groups, ours = self.sides
        order = [ours.index(axis) for group in groups for axis in group]
        return np.ascontiguousarray(array.transpose(order).reshape(self._own_shape(sizes)))

    def _own_shape(self, sizes: Sizes) -> tuple[int, ...]:
        return tuple(prod(sizes[axis] for axis in group) for group in self.sides[0])

    def _stacked(self, sizes: Sizes) -> tuple[Sequence[int] | None, Sequence[int] | None]:
        """Returns the layers and the experts that it stands for; None where the name does not have them."""
        layers = range(sizes["layers"]) if self.layers is None and self.stacked else self.layers
        return layers, range(sizes["experts"]) if "{expert}" in self.name else None


def get(params: Mapping[str, Any], path: Sequence[str]) -> Any:
    """Returns the array at `path` of a nested dict."""
    for key in path:
        params = params[key]
    return params


def nest(arrays: Mapping[tuple[str, ...], Any]) -> dict[str, Any]:
    """Returns the nested dict that holds each array at its path.

    >>> nest({("a", "b"): 1, ("a", "c"): 2})
    {'a': {'b': 1, 'c': 2}}
    """
    tree: dict[str, Any] = {}
    for path, array in arrays.items():
        node = tree
        for key in path[:-1]:
            node = node.setdefault(key, {})
        node[path[-1]] = array
    return tree


def unnest(tree: Mapping[str, Any], at: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """Returns each array of a nested dict by its path: the inverse of `nest`. What is not a dict counts as an array.

    >>> unnest({"a": {"b": 1, "c": 2}})
    {('a', 'b'): 1, ('a', 'c'): 2}
    """
    found: dict[tuple[str, ...], Any] = {}
    for key, value in tree.items():
        path = (*at, key)
        found |= unnest(value, path) if isinstance(value, Mapping) else {path: value}
    return found
