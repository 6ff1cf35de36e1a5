"""Losses of the margin between the two completions of a pair."""

import jax.numpy as jnp
from jax.nn import log_sigmoid, relu, sigmoid

from easydel.losses.ratios import (
    Divergence,
    Lengths,
    Logps,
    PerPair,
    log_ratio_margin,
    mean_log_ratio_margin,
    reverse_kl,
)


def sigmoid_loss(
    policy: Logps,
    reference: Logps,
    lengths: Lengths,
    *,
    beta: float,
    label_smoothing: float = 0.0,
    length_penalty: float = 0.0,
    divergence: Divergence = reverse_kl,
    margin: PerPair | float = 0.0,
    preference: PerPair | float = 1.0,
) -> PerPair:
    """Returns `-(1-e) logsig(x) - e logsig(-x)`, x = b d - m + a (|y_c| - |y_r|): DPO and what is added to it.

    DPO itself (Rafailov et al. 2023, eq. 7) has e, m and a of 0. With e > 0, the probability that a label is flipped
    (see `flipped`), it is cDPO, and smallest at x = log((1-e)/e), not at infinity. m is the margin that a pair may ask
    for between the rewards of its completions (Touvron et al. 2023, eq. 2). a, `length_penalty`, is R-DPO (Park et al.
    2024, "Disentangling length from quality"): the reward of a completion is a lower for each of its tokens, so that
    being longer is no reason to be preferred.

    >>> equal = jnp.zeros((1, 2))
    >>> round(float(sigmoid_loss(equal, equal, jnp.ones((1, 2), int), beta=0.1)[0]), 6)  # ln 2
    0.693147
    """
    longer = (lengths[:, 0] - lengths[:, 1]).astype(policy.dtype)
    scaled = beta * log_ratio_margin(policy, reference, divergence) - margin + length_penalty * longer
    return smoothed_logistic(scaled, flipped(label_smoothing, preference))


def sigmoid_norm(
    policy: Logps, reference: Logps, lengths: Lengths, *, beta: float, divergence: Divergence = reverse_kl
) -> PerPair:
    """Returns `-logsig(b d_mean)`, d_mean taking each log-ratio per token: length-normalized DPO (Tulu 3)."""
    return -log_sigmoid(beta * mean_log_ratio_margin(policy, reference, lengths, divergence))


def hinge(
    policy: Logps, reference: Logps, lengths: Lengths, *, beta: float, divergence: Divergence = reverse_kl
) -> PerPair:
    """Returns `relu(1 - b d)`: SLiC (Zhao et al. 2023) with the normalization of RSO (Liu et al. 2023, eq. 5)."""
    return relu(1.0 - beta * log_ratio_margin(policy, reference, divergence))


def ipo(
    policy: Logps, reference: Logps, lengths: Lengths, *, beta: float, divergence: Divergence = reverse_kl
) -> PerPair:
    """Returns `(d_mean - 1/(2b))^2`: IPO (Azar et al. 2023, eq. 17, where b is called tau).

    d_mean takes each log-ratio per token, so that the target 1/(2b) means the same for completions of any length.
    """
    return (mean_log_ratio_margin(policy, reference, lengths, divergence) - 1.0 / (2.0 * beta)) ** 2


def robust(
    policy: Logps,
    reference: Logps,
    lengths: Lengths,
    *,
    beta: float,
    label_smoothing: float = 0.0,
    divergence: Divergence = reverse_kl,
    preference: PerPair | float = 1.0,
) -> PerPair:
    """Returns `(-(p-e) logsig(b d) - (1-p-e) logsig(-b d)) / (1-2e)`: robust DPO (Chowdhury et al. 2024, eq. 12).

    p is the `preference`, 1 in the paper. The mean over labels flipped with probability e < 1/2 is the DPO loss of the
    clean labels; a p below 1 is such a mean, of pairs of which a share p prefers the chosen completion.
    """
    scaled = beta * log_ratio_margin(policy, reference, divergence)
    wrong = 1.0 - preference
    kept, turned = -log_sigmoid(scaled), -log_sigmoid(-scaled)
    return ((preference - label_smoothing) * kept + (wrong - label_smoothing) * turned) / (1.0 - 2.0 * label_smoothing)


def exo_pair(
    policy: Logps,
    reference: Logps,
    lengths: Lengths,
    *,
    beta: float,
    label_smoothing: float,
    divergence: Divergence = reverse_kl,
    preference: PerPair | float = 1.0,
) -> PerPair:
    """Returns `KL(q || p)` with q = (sig(b d), sig(-b d)) and p = (1-e, e): EXO (Ji et al. 2024, eq. 16), e > 0.

    With a `preference`, e is `flipped` by it too.
    """
    scaled = beta * log_ratio_margin(policy, reference, divergence)
    wrong = flipped(label_smoothing, preference)
    towards_chosen = log_sigmoid(scaled) - jnp.log1p(-wrong)
    towards_rejected = log_sigmoid(-scaled) - jnp.log(wrong)
    return sigmoid(scaled) * towards_chosen + sigmoid(-scaled) * towards_rejected


def discopop(
    policy: Logps,
    reference: Logps,
    lengths: Lengths,
    *,
    beta: float,
    discopop_tau: float = 0.05,
    divergence: Divergence = reverse_kl,
) -> PerPair:
    """Returns `-logsig(L) (1 - m) + exp(-L) m`, L = b d, m = sig(L / tau): DiscoPOP (Lu et al. 2024, eq. 5)."""
    scaled = beta * log_ratio_margin(policy, reference, divergence)
    # As one exponent: far below zero exp(-L) overflows although m makes the product vanish.
    exponential = jnp.exp(log_sigmoid(scaled / discopop_tau) - scaled)
    return -log_sigmoid(scaled) * sigmoid(-scaled / discopop_tau) + exponential


def dpop(policy: Logps, reference: Logps, lengths: Lengths, *, beta: float, dpop_lambda: float = 50.0) -> PerPair:
    """Returns `-logsig(b (d - lambda relu(lr_c - lp_c)))`: DPO-Positive (Pal et al. 2024, "Smaug").

    A chosen completion that has become less likely than under the reference counts against the margin.
    """
    less_likely = relu(reference[:, 0] - policy[:, 0])
    return -log_sigmoid(beta * (log_ratio_margin(policy, reference) - dpop_lambda * less_likely))


def flipped(label_smoothing: float, preference: PerPair | float) -> PerPair | float:
    """Returns `e + (1-2e)(1-p)`: how likely the rejected completion is the better one of a pair.

    A share p of those who were asked prefer the chosen completion, and each answer is wrong with probability e.

    >>> flipped(0.1, 1.0), flipped(0.0, 0.75)
    (0.1, 0.25)
    """
    return label_smoothing + (1.0 - 2.0 * label_smoothing) * (1.0 - preference)


def smoothed_logistic(scaled: PerPair, wrong: PerPair | float) -> PerPair:
    """Returns `-(1-e) logsig(x) - e logsig(-x)`, e the probability that a label is wrong."""
    return -(1.0 - wrong) * log_sigmoid(scaled) - wrong * log_sigmoid(-scaled)


LOSSES = {
    "sigmoid": sigmoid_loss,
    "sigmoid_norm": sigmoid_norm,
    "hinge": hinge,
    "ipo": ipo,
    "robust": robust,
    "exo_pair": exo_pair,
    "discopop": discopop,
    "dpop": dpop,
}
