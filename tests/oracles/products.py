"""The matrix products of a computation, as they are handed to the compiler."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn


def precisions(function: Callable[..., Any], *arguments: Any) -> list[Any]:
    """Returns the precision of every matrix product in a function, also of those in loops and calls."""
    return [product.params["precision"] for product in products(jax.make_jaxpr(function)(*arguments).jaxpr)]


def sizes(function: Callable[..., Any], *arguments: Any) -> list[tuple[int, ...]]:
    """Returns the sizes of the axes of what each matrix product gives, in order: that of a transpose is the same."""
    found = products(jax.make_jaxpr(function)(*arguments).jaxpr)
    return [tuple(sorted(product.outvars[0].aval.shape)) for product in found]


def products(jaxpr: Jaxpr) -> Iterator[JaxprEqn]:
    """Yields the equations of a computation that are matrix products, also of those in loops and calls."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            yield equation
        for value in jax.tree.leaves(equation.params, is_leaf=lambda x: isinstance(x, ClosedJaxpr)):
            inner = value.jaxpr if isinstance(value, ClosedJaxpr) else value
            if isinstance(inner, Jaxpr):
                yield from products(inner)
