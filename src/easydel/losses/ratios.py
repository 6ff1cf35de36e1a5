"""What losses are made of: log-ratios of policy and reference, divergences, the margin between two completions."""

import math
from collections.abc import Callable, Mapping

import jax.numpy as jnp
from jax.nn import log_sigmoid
from jaxtyping import Array, Float, Int

Logps = Float[Array, "pairs 2"]
PerPair = Float[Array, "pairs"]
Lengths = Int[Array, "pairs 2"]
Scalar = Float[Array, ""] | float
Divergence = Callable[[Float[Array, "..."]], Float[Array, "..."]]


def reverse_kl(ratio: Float[Array, "..."]) -> Float[Array, "..."]:
    """Returns f(r) = r: the penalty of DPO itself."""
    return ratio


def forward_kl(ratio: Float[Array, "..."]) -> Float[Array, "..."]:
    """Returns f(r) = 1 - exp(-r) (f-DPO, Wang et al. 2023, table 1), as far as r > -80; see `alpha_divergence`."""
    return 1.0 - jnp.exp(jnp.minimum(-ratio, 80.0))


def js_divergence(ratio: Float[Array, "..."]) -> Float[Array, "..."]:
    """Returns f(r) = log 2 + logsig(r), the Jensen-Shannon divergence (f-DPO, Wang et al. 2023, table 1)."""
    return math.log(2.0) + log_sigmoid(ratio)


def alpha_divergence(ratio: Float[Array, "..."], *, alpha: float) -> Float[Array, "..."]:
    """Returns f(r) = (exp((a-1) r) - 1) / (a-1), and r itself as a -> 1 (f-DPO, Wang et al. 2023, table 1).

    The exponent is kept below 80, so that a far-off pair gives large numbers and not infinite ones.
    """
    if abs(alpha - 1.0) < 1e-6:
        return ratio
    return (jnp.exp(jnp.minimum((alpha - 1.0) * ratio, 80.0)) - 1.0) / (alpha - 1.0)


DIVERGENCES: Mapping[str, Callable[..., Float[Array, "..."]]] = {
    "reverse_kl": reverse_kl,
    "forward_kl": forward_kl,
    "js_divergence": js_divergence,
    "alpha_divergence": alpha_divergence,
}


def log_ratio_margin(policy: Logps, reference: Logps, divergence: Divergence = reverse_kl) -> PerPair:
    """Returns d: how much further the policy has moved towards the chosen completion than towards the rejected one.

    >>> d = log_ratio_margin(jnp.array([[-1.0, -4.0]]), jnp.array([[-2.0, -3.0]]))
    >>> float(d[0])
    2.0
    """
    score = divergence(policy - reference)
    return score[:, 0] - score[:, 1]


def per_token(values: Logps, lengths: Lengths) -> Logps:
    """Returns what was summed over the tokens of completions, by the token; of padding, which has none, as it is."""
    return values / jnp.maximum(lengths, 1).astype(values.dtype)


def mean_log_ratio_margin(
    policy: Logps, reference: Logps, lengths: Lengths, divergence: Divergence = reverse_kl
) -> PerPair:
    """Returns d with each completion's score divided by its number of tokens (Tulu 3, Lambert et al. 2024)."""
    score = per_token(divergence(policy - reference), lengths)
    return score[:, 0] - score[:, 1]
