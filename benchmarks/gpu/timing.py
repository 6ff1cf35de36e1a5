"""How long a compiled function takes on a device."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import jax


def seconds(function: Callable[..., Any], *arguments: Any, repeats: int = 10) -> float:
    """Returns the median time of a call, once it is compiled; each call is waited for."""
    jax.block_until_ready(function(*arguments))
    taken = []
    for _ in range(repeats):
        began = time.perf_counter()
        jax.block_until_ready(function(*arguments))
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)
