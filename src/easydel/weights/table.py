"""The weight table: how each tensor of a Hugging Face folder becomes one of our arrays, and back.

A row is (name in the file, our path, pattern). The pattern `"(heads head_dim) embed -> embed heads head_dim"`
says how the file's axes split and where they go; its right side is the shape and the logical axes of our
array. A row whose name has `{layer}` stands for one tensor per layer; our array stacks them on a leading axis
`layers`.
"""

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np

Sizes = Mapping[str, int]  # the size of every named axis, `layers` among them


class Row(NamedTuple):
    """One line of the table. `start` says what a fresh model begins with: 'normal', 'zeros' or 'ones'."""

    name: str
    path: tuple[str, ...]
    pattern: str
    start: str = "normal"

    @property
    def stacked(self) -> bool:
        """Whether the row stands for one tensor per layer."""
        return "{layer}" in self.name

    @property
    def sides(self) -> tuple[list[list[str]], tuple[str, ...]]:
        """The axes of the file, grouped, and those of our array without `layers`."""
        return _sides(self.pattern)

    @property
    def axes(self) -> tuple[str, ...]:
        """The logical axes of our array, with the leading `layers` of a stacked row."""
        _, ours = _sides(self.pattern)
        return ("layers", *ours) if self.stacked else ours

    def shape(self, sizes: Sizes) -> tuple[int, ...]:
        """Returns the shape of our array."""
        return tuple(sizes[axis] for axis in self.axes)

    def names(self, sizes: Sizes) -> list[str]:
        """Returns the names in the file: one per layer, or one."""
        return [self.name.format(layer=layer) for layer in range(sizes["layers"])] if self.stacked else [self.name]

    def file_shape(self, sizes: Sizes) -> tuple[int, ...]:
        """Returns the shape of each tensor in the file."""
        groups, _ = _sides(self.pattern)
        return tuple(prod(sizes[axis] for axis in group) for group in groups)

    def from_file(self, tensor: np.ndarray, sizes: Sizes) -> np.ndarray:
        """Returns one tensor of the file in our axes (without `layers`); a view, nothing is copied.

        >>> row = Row("w", ("w",), "(heads head_dim) embed -> embed heads head_dim")
        >>> row.from_file(np.zeros((6, 5)), {"heads": 2, "head_dim": 3, "embed": 5}).shape
        (5, 2, 3)
        """
        groups, ours = _sides(self.pattern)
        flat = [axis for group in groups for axis in group]
        split = tensor.reshape([sizes[axis] for axis in flat])
        return split.transpose([flat.index(axis) for axis in ours])

    def to_file(self, array: np.ndarray, sizes: Sizes) -> np.ndarray:
        """Returns the tensor of the file for one layer of ours: the inverse of `from_file`, contiguous."""
        groups, ours = _sides(self.pattern)
        order = [ours.index(axis) for group in groups for axis in group]
        return np.ascontiguousarray(array.transpose(order).reshape(self.file_shape(sizes)))


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
        branch = tree
        for key in path[:-1]:
            branch = branch.setdefault(key, {})
        branch[path[-1]] = array
    return tree


def unnest(tree: Mapping[str, Any], at: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """Returns each array of a nested dict by its path: the inverse of `nest`. What is no dict counts as an array.

    >>> unnest({"a": {"b": 1, "c": 2}})
    {('a', 'b'): 1, ('a', 'c'): 2}
    """
    found: dict[tuple[str, ...], Any] = {}
    for key, value in tree.items():
        path = (*at, key)
        found |= unnest(value, path) if isinstance(value, Mapping) else {path: value}
    return found


def _sides(pattern: str) -> tuple[list[list[str]], tuple[str, ...]]:
    """Returns (groups of axes on the left, axes on the right) of a pattern."""
    left, right = pattern.split("->")
    groups: list[list[str]] = []
    inside = False
    for word in left.replace("(", " ( ").replace(")", " ) ").split():
        if word == "(":
            groups.append([])
            inside = True
        elif word == ")":
            inside = False
        elif inside:
            groups[-1].append(word)
        else:
            groups.append([word])
    ours = tuple(right.split())
    if sorted(axis for group in groups for axis in group) != sorted(ours):
        raise ValueError(f"The two sides of the pattern {pattern!r} do not name the same axes.")
    return groups, ours
