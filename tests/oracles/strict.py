"""What tests are stricter in than users need: shapes in the signatures of the package, and dtypes where they meet."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import jaxtyping
import numpy as np
from beartype import beartype

_from_jaxtyping = jaxtyping.__getattr__


def _array_of_either(name: str) -> Any:
    found = _from_jaxtyping(name)
    return found | np.ndarray if name == "Array" else found


# jax takes arrays of numpy in place of its own, outside a compiled program, and tests give it such.
jaxtyping.__getattr__ = _array_of_either


def checked(function: Callable) -> Callable:
    """Returns a function that checks the shapes and dtypes of what it is given and of what it returns.

    Other types are left to the type checker: a test may give a stand-in, and `Self` or a protocol cannot be checked.
    So are the fields of a dataclass: one that is a tree holds abstract values or shardings too, where jax maps over it.
    """
    if function.__name__ == "__init__":
        return function
    every = function.__annotations__
    function.__annotations__ = {name: hint for name, hint in every.items() if "jaxtyping." in repr(hint)}
    found = beartype(function) if function.__annotations__ else function
    function.__annotations__ = found.__annotations__ = every
    return found


def promote_strictly() -> None:
    """Makes jax refuse to choose a dtype where two meet, but in the functions of optax that leave it to jax."""
    import jax
    import optax
    import optax.tree_utils._tree_math as maths

    def promoting(function: Callable) -> Callable:
        @wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            with jax.numpy_dtype_promotion("standard"):
                return function(*args, **kwargs)

        return run

    # A float to the power of a count, and bfloat16 weights with float32 updates.
    for function in (maths.tree_bias_correction, optax.apply_updates):
        for module in (maths, optax, optax.tree, optax.tree_utils):
            for name in [name for name, value in vars(module).items() if value is function]:
                setattr(module, name, promoting(function))
    jax.config.update("jax_numpy_dtype_promotion", "strict")
