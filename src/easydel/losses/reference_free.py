"""Losses that look at no reference."""

import jax.numpy as jnp
from jax.nn import log_sigmoid

from easydel.losses.ratios import Lengths, Logps, PerPair, Scalar, per_token


def sft(
    policy: Logps, reference: Logps, lengths: Lengths, *, full_policy: Logps, mean_chosen_length: Scalar
) -> PerPair:
    """Returns `-lp_c / mean |y_c|`: its mean over pairs is the negative log-likelihood per chosen token.

    The term that RPO (Pang et al. 2024, eq. 1) and MPO (Wang et al. 2024) add to a preference loss. Every token of the
    update counts the same, whatever completion it is in.
    """
    return -full_policy[:, 0] / mean_chosen_length


def simpo(policy: Logps, reference: Logps, lengths: Lengths, *, beta: float, simpo_gamma: float = 0.5) -> PerPair:
    """Returns `-logsig(b (lp_c / |y_c| - lp_r / |y_r|) - gamma)`: SimPO (Meng et al. 2024, eq. 6), no reference."""
    mean = per_token(policy, lengths)
    return -log_sigmoid(beta * (mean[:, 0] - mean[:, 1]) - simpo_gamma)


def cpo(
    policy: Logps,
    reference: Logps,
    lengths: Lengths,
    *,
    beta: float,
    full_policy: Logps,
    mean_chosen_length: Scalar,
    cpo_alpha: float = 1.0,
) -> PerPair:
    """Returns `-logsig(b (lp_c - lp_r)) + alpha * sft`: CPO (Xu et al. 2024), no reference."""
    likelihood = sft(policy, reference, lengths, full_policy=full_policy, mean_chosen_length=mean_chosen_length)
    return -log_sigmoid(beta * (policy[:, 0] - policy[:, 1])) + cpo_alpha * likelihood


def orpo(
    policy: Logps, reference: Logps, lengths: Lengths, *, beta: float, full_policy: Logps, mean_chosen_length: Scalar
) -> PerPair:
    """Returns `sft - b logsig(log odds_c - log odds_r)`: ORPO (Hong et al. 2024, eq. 6-7, b its lambda), no reference.

    odds = p / (1 - p) of a completion's probability per token, p = exp(lp / |y|).
    """
    mean = per_token(policy, lengths)
    log_odds = mean - jnp.log(-jnp.expm1(jnp.minimum(mean, -1e-6)))  # p = 1 has no odds
    likelihood = sft(policy, reference, lengths, full_policy=full_policy, mean_chosen_length=mean_chosen_length)
    return likelihood - beta * log_sigmoid(log_odds[:, 0] - log_odds[:, 1])


def alphapo(
    policy: Logps,
    reference: Logps,
    lengths: Lengths,
    *,
    beta: float,
    alphapo_alpha: float = 0.25,
    simpo_gamma: float = 0.5,
) -> PerPair:
    """Returns `-logsig(R_c - R_r - gamma)`, R = b (1 - p^-alpha) / alpha: AlphaPO (Gupta et al. 2025).

    p = exp(lp / |y|) is a completion's probability per token; alpha -> 0 is SimPO. No reference. The exponent is kept
    below 80, so that a very unlikely completion gives large numbers and not infinite ones.
    """
    mean = per_token(policy, lengths)
    if abs(alphapo_alpha) > 1e-6:
        mean = -jnp.expm1(jnp.minimum(-alphapo_alpha * mean, 80.0)) / alphapo_alpha
    return -log_sigmoid(beta * (mean[:, 0] - mean[:, 1]) - simpo_gamma)


LOSSES = {
    "sft": sft,
    "simpo": simpo,
    "cpo": cpo,
    "orpo": orpo,
    "alphapo": alphapo,
}
