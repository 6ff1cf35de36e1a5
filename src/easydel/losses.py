"""Preference losses: pure functions from log-probabilities to one value per pair.

Every loss takes `(policy, reference, lengths)`, arrays of shape `[pairs, 2]` whose last axis is (chosen, rejected):
the summed log-probability of each completion under the policy and under the reference, and its number of tokens.
A padding pair, which only rounds a batch up to its compiled size, has length 0; the caller leaves its value out.

In the equations  lp = policy, lr = reference, |y| = length, b = beta, e = label_smoothing, f a divergence, and

    c = lp_c - lr_c,  r = lp_r - lr_r          the log-ratios of the two completions
    d = f(c) - f(r)                            the margin, chosen above rejected; f is the identity unless asked for
    d_mean = f(c) / |y_c| - f(r) / |y_r|       the same per token

Further keywords are options of the run (`beta`, `label_smoothing`, ...) or facts about the batch; a loss gets those it
asks for by name, see `easydel.trainers.objective`. A new loss is a function here, its name in `LOSSES`, and a row of
`TRAITS` in `easydel.trainers.options.losses`; CONTRIBUTING.md shows a diff.
"""

import math
from collections.abc import Callable, Mapping

import jax.numpy as jnp
from jax.lax import stop_gradient
from jax.nn import log_sigmoid, relu, sigmoid
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


def sigmoid_loss(
    policy: Logps,
    reference: Logps,
    lengths: Lengths,
    *,
    beta: float,
    label_smoothing: float = 0.0,
    divergence: Divergence = reverse_kl,
    margin: PerPair | float = 0.0,
) -> PerPair:
    """Returns `-(1-e) logsig(b d - m) - e logsig(m - b d)`: DPO (Rafailov et al. 2023, eq. 7); with e > 0 it is cDPO.

    e is the probability that a label is flipped; the loss is then smallest at b d = log((1-e)/e), not at infinity.
    m is the margin that a pair may ask for between the rewards of its completions (Touvron et al. 2023, eq. 2).

    >>> equal = jnp.zeros((1, 2))
    >>> round(float(sigmoid_loss(equal, equal, jnp.ones((1, 2), int), beta=0.1)[0]), 6)  # ln 2
    0.693147
    """
    return _smoothed_logistic(beta * log_ratio_margin(policy, reference, divergence) - margin, label_smoothing)


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
) -> PerPair:
    """Returns `(-(1-e) logsig(b d) + e logsig(-b d)) / (1-2e)`: robust DPO (Chowdhury et al. 2024, eq. 12).

    Its mean over labels flipped with probability e < 1/2 is the DPO loss of the clean labels.
    """
    scaled = beta * log_ratio_margin(policy, reference, divergence)
    clean, flipped = -log_sigmoid(scaled), -log_sigmoid(-scaled)
    return ((1.0 - label_smoothing) * clean - label_smoothing * flipped) / (1.0 - 2.0 * label_smoothing)


def exo_pair(
    policy: Logps,
    reference: Logps,
    lengths: Lengths,
    *,
    beta: float,
    label_smoothing: float,
    divergence: Divergence = reverse_kl,
) -> PerPair:
    """Returns `KL(q || p)` with q = (sig(b d), sig(-b d)) and p = (1-e, e): EXO (Ji et al. 2024, eq. 16), e > 0."""
    scaled = beta * log_ratio_margin(policy, reference, divergence)
    towards_chosen = log_sigmoid(scaled) - jnp.log1p(-label_smoothing)
    towards_rejected = log_sigmoid(-scaled) - jnp.log(label_smoothing)
    return sigmoid(scaled) * towards_chosen + sigmoid(-scaled) * towards_rejected


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


def aot(policy: Logps, reference: Logps, lengths: Lengths, *, beta: float, label_smoothing: float = 0.0) -> PerPair:
    """Returns the loss of paired AOT (Melnyk et al. 2024, alg. 1): the logistic loss between *sorted* margins.

    D = sort(lp_c - lp_r) - sort(lr_c - lr_r), both sorted over all pairs of the update: the policy's margins should
    dominate the reference's as distributions, not pair by pair.
    """
    return _sorted_logistic(
        policy[:, 0] - policy[:, 1], reference[:, 0] - reference[:, 1], lengths, beta, label_smoothing
    )


def aot_unpaired(
    policy: Logps, reference: Logps, lengths: Lengths, *, beta: float, label_smoothing: float = 0.0
) -> PerPair:
    """Returns the loss of unpaired AOT (Melnyk et al. 2024): D = sort(c) - sort(r) of the log-ratios."""
    ratio = policy - reference
    return _sorted_logistic(ratio[:, 0], ratio[:, 1], lengths, beta, label_smoothing)


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


def _smoothed_logistic(scaled: PerPair, label_smoothing: float) -> PerPair:
    return -(1.0 - label_smoothing) * log_sigmoid(scaled) - label_smoothing * log_sigmoid(-scaled)


def _sorted_logistic(upper: PerPair, lower: PerPair, lengths: Lengths, beta: float, label_smoothing: float) -> PerPair:
    """Returns the logistic loss of `sort(upper) - sort(lower)`, each value at the pair whose `upper` has its rank.

    Padding pairs are sorted behind all real ones in both orders, so that they meet only each other.
    """
    real = lengths[:, 0] > 0
    last = jnp.finfo(upper.dtype).max / 4
    upper, lower = (jnp.where(real, values, last) for values in (upper, lower))
    by_rank = _smoothed_logistic(beta * (jnp.sort(upper) - jnp.sort(lower)), label_smoothing)
    rank = jnp.argsort(jnp.argsort(upper))
    return by_rank[rank]


LOSSES: Mapping[str, Callable[..., PerPair]] = {
    "sigmoid": sigmoid_loss,
    "sigmoid_norm": sigmoid_norm,
    "hinge": hinge,
    "ipo": ipo,
    "robust": robust,
    "exo_pair": exo_pair,
    "nca_pair": nca_pair,
    "bco_pair": bco_pair,
    "sppo_hard": sppo_hard,
    "apo_zero": apo_zero,
    "apo_down": apo_down,
    "discopop": discopop,
    "kto_pair": kto_pair,
    "aot": aot,
    "aot_unpaired": aot_unpaired,
    "aot_pair": aot_unpaired,  # the name it had first
    "sft": sft,
    "simpo": simpo,
    "cpo": cpo,
    "orpo": orpo,
    "alphapo": alphapo,
}
