"""The matrix products of a computation, as they are handed to the compiler."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr


def precisions(function: Callable[..., Any], *arguments: Any) -> list[Any]:
    """Returns the precision of every matrix product in a function, also of those in loops and calls."""
    return list(_precisions(jax.make_jaxpr(function)(*arguments).jaxpr))


def _precisions(jaxpr: Jaxpr) -> Iterator[Any]:
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            yield equation.params["precision"]
        for value in jax.tree.leaves(equation.params, is_leaf=lambda x: isinstance(x, ClosedJaxpr)):
            inner = value.jaxpr if isinstance(value, ClosedJaxpr) else value
            if isinstance(inner, Jaxpr):
                yield from _precisions(inner)
