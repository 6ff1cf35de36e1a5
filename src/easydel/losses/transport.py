"""Losses that compare the completions of all pairs of an update as distributions: alignment by optimal transport."""

import jax.numpy as jnp

from easydel.losses.margin import flipped, smoothed_logistic
from easydel.losses.ratios import Lengths, Logps, PerPair


def aot(
    policy: Logps,
    reference: Logps,
    lengths: Lengths,
    *,
    beta: float,
    label_smoothing: float = 0.0,
    preference: PerPair | float = 1.0,
) -> PerPair:
    """Returns the loss of paired AOT (Melnyk et al. 2024, alg. 1): the logistic loss between *sorted* margins.

    D = sort(lp_c - lp_r) - sort(lr_c - lr_r), both sorted over all pairs of the update: the policy's margins should
    dominate the reference's as distributions, not pair by pair.
    """
    upper, lower = policy[:, 0] - policy[:, 1], reference[:, 0] - reference[:, 1]
    return _sorted_logistic(upper, lower, lengths, beta, flipped(label_smoothing, preference))


def aot_unpaired(
    policy: Logps,
    reference: Logps,
    lengths: Lengths,
    *,
    beta: float,
    label_smoothing: float = 0.0,
    preference: PerPair | float = 1.0,
) -> PerPair:
    """Returns the loss of unpaired AOT (Melnyk et al. 2024): D = sort(c) - sort(r) of the log-ratios."""
    ratio = policy - reference
    return _sorted_logistic(ratio[:, 0], ratio[:, 1], lengths, beta, flipped(label_smoothing, preference))


def _sorted_logistic(upper: PerPair, lower: PerPair, lengths: Lengths, beta: float, wrong: PerPair | float) -> PerPair:
    """Returns the logistic loss of `sort(upper) - sort(lower)`, each value at the pair whose `upper` has its rank.

    `wrong` is the probability that the label of that pair is. Padding pairs are sorted behind all real ones in both
    orders, so that they meet only each other.
    """
    real = lengths[:, 0] > 0
    last = jnp.finfo(upper.dtype).max / 4
    upper, lower = (jnp.where(real, values, last) for values in (upper, lower))
    rank = jnp.argsort(jnp.argsort(upper))
    return smoothed_logistic(beta * (jnp.sort(upper) - jnp.sort(lower))[rank], wrong)


LOSSES = {
    "aot": aot,
    "aot_unpaired": aot_unpaired,
    "aot_pair": aot_unpaired,  # the name it had first
}
