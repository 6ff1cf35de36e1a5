"""The head: logits, log-probabilities and gradients of a batch of completion tokens, in bfloat16."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from benchmarks.gpu.timing import seconds
from easydel.ops.head import token_statistics

HEADER = ["hidden x vocabulary", "tokens", "chunk", "forward ms", "TFLOP/s", "with gradient ms", "TFLOP/s"]


class Size(NamedTuple):
    """The sizes of a head, and how many tokens meet it."""

    hidden: int
    vocabulary: int
    tokens: int
    chunk: int


# Of Qwen2.5-0.5B, Llama 3.2 1B and Llama 3.1 8B.
_SIZES = ((896, 151_936), (2048, 128_256), (4096, 128_256))
REAL = tuple(Size(hidden, vocabulary, 16_384, 4096) for hidden, vocabulary in _SIZES)
SMALL = (Size(64, 512, 256, 128),)


def rows(sizes: tuple[Size, ...]) -> list[list[str]]:
    """Returns a row for each size. Forward is one product with the matrix; the gradient is four, one of them again."""
    return [_of_size(size) for size in sizes]


def _of_size(size: Size) -> list[str]:
    keys = jax.random.split(jax.random.key(0), 3)
    states = jax.random.normal(keys[0], (1, size.tokens, size.hidden), jnp.bfloat16)
    matrix = jax.random.normal(keys[1], (size.vocabulary, size.hidden), jnp.float32) * 0.02
    target = jax.random.randint(keys[2], (1, size.tokens), 0, size.vocabulary)

    def summed(states: jax.Array, matrix: jax.Array) -> Any:
        return token_statistics(states, target, matrix, chunk=size.chunk).logp.sum()

    forward = seconds(jax.jit(summed), states, matrix)
    both = seconds(jax.jit(jax.value_and_grad(summed, (0, 1))), states, matrix)
    product = 2.0 * size.tokens * size.hidden * size.vocabulary
    return [
        f"{size.hidden:,} x {size.vocabulary:,}",
        f"{size.tokens:,}",
        f"{size.chunk:,}",
        f"{1e3 * forward:.2f}",
        f"{product / forward / 1e12:.2f}",
        f"{1e3 * both:.2f}",
        f"{4 * product / both / 1e12:.2f}",
    ]
