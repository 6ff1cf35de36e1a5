"""Losses that know how much better the chosen completion is: by the scores of both, of a reward model or of people.

In the equations g = `chosen_score - rejected_score` of the row, and eta = `score_scale`.
"""

import jax.numpy as jnp
from jax.nn import log_sigmoid, sigmoid

from easydel.losses.ratios import Divergence, Lengths, Logps, PerPair, log_ratio_margin, reverse_kl


def rpo_sq(
    policy: Logps,
    reference: Logps,
    lengths: Lengths,
    *,
    beta: float,
    score_gap: PerPair,
    score_scale: float = 1.0,
    divergence: Divergence = reverse_kl,
) -> PerPair:
    """Returns `(b d - eta g)^2`: reward-aware preference optimization (Sun et al. 2025, "squared distance").

    All three forms are smallest where the policy is proportional to pi_ref exp(eta score / b).
    """
    return (beta * log_ratio_margin(policy, reference, divergence) - score_scale * score_gap) ** 2


def rpo_bwd_kl(
    policy: Logps,
    reference: Logps,
    lengths: Lengths,
    *,
    beta: float,
    score_gap: PerPair,
    score_scale: float = 1.0,
    divergence: Divergence = reverse_kl,
) -> PerPair:
    """Returns `KL(p || q)`, p = (sig(eta g), sig(-eta g)), q = (sig(b d), sig(-b d)): RPO (Adler et al. 2024).

    The form that Nemotron-4 340B was trained with: DPO with soft labels sig(eta g), less the entropy of these.
    """
    return _bernoulli_kl(score_scale * score_gap, beta * log_ratio_margin(policy, reference, divergence))


def rpo_fwd_kl(
    policy: Logps,
    reference: Logps,
    lengths: Lengths,
    *,
    beta: float,
    score_gap: PerPair,
    score_scale: float = 1.0,
    divergence: Divergence = reverse_kl,
) -> PerPair:
    """Returns `KL(q || p)` with p and q of `rpo_bwd_kl` (Sun et al. 2025, "forward KL")."""
    return _bernoulli_kl(beta * log_ratio_margin(policy, reference, divergence), score_scale * score_gap)


def odpo(
    policy: Logps,
    reference: Logps,
    lengths: Lengths,
    *,
    beta: float,
    score_gap: PerPair,
    odpo_alpha: float = 1.0,
    divergence: Divergence = reverse_kl,
) -> PerPair:
    """Returns `-logsig(b d - alpha log g)`: DPO with an offset (Amini et al. 2024), scaled by the logarithm.

    A pair whose chosen completion does not have the higher score has no offset, and no loss: log g goes to minus
    infinity as g goes to 0.
    """
    better = score_gap > 0
    offset = odpo_alpha * jnp.log(jnp.where(better, score_gap, 1.0))
    return jnp.where(better, -log_sigmoid(beta * log_ratio_margin(policy, reference, divergence) - offset), 0.0)


def _bernoulli_kl(x: PerPair, y: PerPair) -> PerPair:
    """Returns `KL((sig(x), sig(-x)) || (sig(y), sig(-y)))`."""
    return sigmoid(x) * (log_sigmoid(x) - log_sigmoid(y)) + sigmoid(-x) * (log_sigmoid(-x) - log_sigmoid(-y))


LOSSES = {
    "rpo_sq": rpo_sq,
    "rpo_bwd_kl": rpo_bwd_kl,
    "rpo_fwd_kl": rpo_fwd_kl,
    "odpo": odpo,
}
