"""Losses that judge each completion of a pair by itself, against a reward that is neither good nor bad."""

import jax.numpy as jnp
from jax.lax import stop_gradient
from jax.nn import log_sigmoid, relu, sigmoid

from easydel.losses.ratios import Lengths, Logps, PerPair, Scalar


def nca_pair(policy: Logps, reference: Logps, lengths: Lengths, *, beta: float) -> PerPair:
    """Returns `-logsig(b c) - logsig(-b c)/2 - logsig(-b r)/2` with the log-ratios c and r.

    NCA (Chen et al. 2024, "Noise contrastive alignment", the pairwise form): the chosen completion also stays likely.
    """
    reward = beta * (policy - reference)
    return -log_sigmoid(reward[:, 0]) - 0.5 * (log_sigmoid(-reward[:, 0]) + log_sigmoid(-reward[:, 1]))


def bco_pair(policy: Logps, reference: Logps, lengths: Lengths, *, beta: float, reward_shift: Scalar = 0.0) -> PerPair:
    """Returns `-logsig(b c - delta) - logsig(-(b r - delta))`: BCO on pairs (Jung et al. 2024).

    delta is 0, or with `bco_running_mean` the mean reward b c and b r of all completions trained on so far, chosen and
    rejected alike: an estimate of the paper's reward shift, (E[b c] + E[b r]) / 2, as TRL's `RunningMoments` makes it.
    """
    reward = beta * (policy - reference) - reward_shift
    return -log_sigmoid(reward[:, 0]) - log_sigmoid(-reward[:, 1])


def sppo_hard(policy: Logps, reference: Logps, lengths: Lengths, *, beta: float) -> PerPair:
    """Returns `(c - 1/(2b))^2 + (r + 1/(2b))^2`: SPPO (Wu et al. 2024, eq. 4.7) when the label is certain."""
    ratio = policy - reference
    return (ratio[:, 0] - 0.5 / beta) ** 2 + (ratio[:, 1] + 0.5 / beta) ** 2


def apo_zero(policy: Logps, reference: Logps, lengths: Lengths, *, beta: float) -> PerPair:
    """Returns `1 - sig(b c) + sig(b r)`: APO-zero (D'Oosterlinck et al. 2024, eq. 7).

    For chosen completions better than the model's own: they become more likely and the rejected ones less.
    """
    reward = beta * (policy - reference)
    return 1.0 - sigmoid(reward[:, 0]) + sigmoid(reward[:, 1])


def apo_down(policy: Logps, reference: Logps, lengths: Lengths, *, beta: float) -> PerPair:
    """Returns `sig(b c) + 1 - sig(b d)`: APO-down (D'Oosterlinck et al. 2024, eq. 8).

    For chosen completions worse than the model's own: both become less likely, the rejected ones more so.
    """
    reward = beta * (policy - reference)
    return sigmoid(reward[:, 0]) + 1.0 - sigmoid(reward[:, 0] - reward[:, 1])


def kto_pair(policy: Logps, reference: Logps, lengths: Lengths, *, beta: float) -> PerPair:
    """Returns `(1 - sig(b (c - K_r)) + 1 - sig(b (K_c - r))) / 2`: KTO (Ethayarajh et al. 2024) on pairs.

    Each completion is judged against the KL divergence of policy and reference, estimated from the other kind of all
    pairs of the update: K_c = max(mean c, 0) and K_r = max(mean r, 0), without gradient.
    """
    ratio = policy - reference
    real = (lengths[:, :1] > 0).astype(ratio.dtype)
    mean = jnp.sum(real * ratio, axis=0) / jnp.maximum(jnp.sum(real), 1.0)
    kl = stop_gradient(relu(mean))
    return 1.0 - 0.5 * (sigmoid(beta * (ratio[:, 0] - kl[1])) + sigmoid(beta * (kl[0] - ratio[:, 1])))


LOSSES = {
    "nca_pair": nca_pair,
    "bco_pair": bco_pair,
    "sppo_hard": sppo_hard,
    "apo_zero": apo_zero,
    "apo_down": apo_down,
    "kto_pair": kto_pair,
}
