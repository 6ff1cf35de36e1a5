"""The soft cap of attention scores and logits (Gemma 2, arXiv 2408.00118), with its slope for gradients by hand."""

import jax
import jax.numpy as jnp


def soft_cap(x: jax.Array, bound: float | None) -> jax.Array:
    """Returns bound * tanh(x / bound), which is nearly x where that is small; None is no bound."""
    return x if bound is None else bound * jnp.tanh(x / bound)


def times_slope(gradient: jax.Array, capped: jax.Array, bound: float | None) -> jax.Array:
    """Returns the gradient by x from that by `capped = soft_cap(x, bound)`: times 1 - (capped / bound)^2."""
    return gradient if bound is None else gradient * (1 - jnp.square(capped / bound))
