"""Preference losses: pure functions from log-probabilities to one value per pair.

Every loss takes `(policy, reference, lengths)`, arrays of shape `[pairs, 2]` whose last axis is (chosen, rejected):
the summed log-probability of each completion under the policy and under the reference, and its number of tokens.
A filler pair, which only rounds a batch up to its compiled size, has length 0; the caller leaves its value out.

In the equations  lp = policy, lr = reference, |y| = length, b = beta, e = label_smoothing, and

    d = (lp_c - lr_c) - (lp_r - lr_r)          the log-ratio margin, chosen above rejected

To add a loss: write the function, name it in `LOSSES`, and in `ACROSS_PAIRS` if a pair's value depends on other pairs.
"""

import inspect
from collections.abc import Callable, Mapping
from functools import partial

import jax.numpy as jnp
from jax.nn import log_sigmoid, relu, sigmoid
from jaxtyping import Array, Float, Int

from easydel.errors import ConfigError, nearest

PerSide = Float[Array, "pairs 2"]
PerPair = Float[Array, "pairs"]
Lengths = Int[Array, "pairs 2"]
PreferenceLoss = Callable[[PerSide, PerSide, Lengths], PerPair]


def log_ratio_margin(policy: PerSide, reference: PerSide) -> PerPair:
    """Returns d: how much further the policy has moved towards the chosen answer than towards the rejected one.

    >>> d = log_ratio_margin(jnp.array([[-1.0, -4.0]]), jnp.array([[-2.0, -3.0]]))
    >>> float(d[0])
    2.0
    """
    ratio = policy - reference
    return ratio[:, 0] - ratio[:, 1]


def mean_log_ratio_margin(policy: PerSide, reference: PerSide, lengths: Lengths) -> PerPair:
    """Returns d with each side's log-ratio divided by its number of tokens."""
    ratio = (policy - reference) / jnp.maximum(lengths, 1)
    return ratio[:, 0] - ratio[:, 1]


def sigmoid_loss(
    policy: PerSide, reference: PerSide, lengths: Lengths, *, beta: float, label_smoothing: float = 0.0
) -> PerPair:
    """Returns `-(1-e) logsig(b d) - e logsig(-b d)`: DPO (Rafailov et al. 2023, eq. 7); with e > 0 it is cDPO.

    e is the probability that a label is flipped; the loss is then smallest at b d = log((1-e)/e), not at infinity.

    >>> equal = jnp.zeros((1, 2))
    >>> round(float(sigmoid_loss(equal, equal, jnp.ones((1, 2), int), beta=0.1)[0]), 6)  # ln 2
    0.693147
    """
    return _smoothed_logistic(beta * log_ratio_margin(policy, reference), label_smoothing)


def sigmoid_norm(policy: PerSide, reference: PerSide, lengths: Lengths, *, beta: float) -> PerPair:
    """Returns `-logsig(b d_mean)`, d_mean taking each side's log-ratio per token: length-normalised DPO (Tulu 3)."""
    return -log_sigmoid(beta * mean_log_ratio_margin(policy, reference, lengths))


def hinge(policy: PerSide, reference: PerSide, lengths: Lengths, *, beta: float) -> PerPair:
    """Returns `relu(1 - b d)`: SLiC (Zhao et al. 2023) with the normalisation of RSO (Liu et al. 2023, eq. 5)."""
    return relu(1.0 - beta * log_ratio_margin(policy, reference))


def ipo(policy: PerSide, reference: PerSide, lengths: Lengths, *, beta: float) -> PerPair:
    """Returns `(d_mean - 1/(2b))^2`: IPO (Azar et al. 2023, eq. 17, where b is called tau).

    d_mean takes each side's log-ratio per token, so that the target 1/(2b) means the same for answers of any length.
    """
    return (mean_log_ratio_margin(policy, reference, lengths) - 1.0 / (2.0 * beta)) ** 2


def robust(
    policy: PerSide, reference: PerSide, lengths: Lengths, *, beta: float, label_smoothing: float = 0.0
) -> PerPair:
    """Returns `(-(1-e) logsig(b d) + e logsig(-b d)) / (1-2e)`: robust DPO (Chowdhury et al. 2024, eq. 12).

    Its mean over labels flipped with probability e < 1/2 is the DPO loss of the clean labels.
    """
    scaled = beta * log_ratio_margin(policy, reference)
    clean, flipped = -log_sigmoid(scaled), -log_sigmoid(-scaled)
    return ((1.0 - label_smoothing) * clean - label_smoothing * flipped) / (1.0 - 2.0 * label_smoothing)


def exo_pair(policy: PerSide, reference: PerSide, lengths: Lengths, *, beta: float, label_smoothing: float) -> PerPair:
    """Returns `KL(q || p)` with q = (sig(b d), sig(-b d)) and p = (1-e, e): EXO (Ji et al. 2024, eq. 16), e > 0."""
    scaled = beta * log_ratio_margin(policy, reference)
    towards_chosen = log_sigmoid(scaled) - jnp.log1p(-label_smoothing)
    towards_rejected = log_sigmoid(-scaled) - jnp.log(label_smoothing)
    return sigmoid(scaled) * towards_chosen + sigmoid(-scaled) * towards_rejected


def nca_pair(policy: PerSide, reference: PerSide, lengths: Lengths, *, beta: float) -> PerPair:
    """Returns `-logsig(b c) - logsig(-b c)/2 - logsig(-b r)/2` with the log-ratios c and r of the two sides.

    NCA (Chen et al. 2024, "Noise contrastive alignment", the pairwise form): it also keeps the chosen answer likely.
    """
    reward = beta * (policy - reference)
    return -log_sigmoid(reward[:, 0]) - 0.5 * (log_sigmoid(-reward[:, 0]) + log_sigmoid(-reward[:, 1]))


def bco_pair(policy: PerSide, reference: PerSide, lengths: Lengths, *, beta: float) -> PerPair:
    """Returns `-logsig(b c) - logsig(-b r)`: BCO on pairs (Jung et al. 2024), with its reward shift at 0."""
    reward = beta * (policy - reference)
    return -log_sigmoid(reward[:, 0]) - log_sigmoid(-reward[:, 1])


def sppo_hard(policy: PerSide, reference: PerSide, lengths: Lengths, *, beta: float) -> PerPair:
    """Returns `(c - 1/(2b))^2 + (r + 1/(2b))^2`: SPPO (Wu et al. 2024, eq. 4.7) when the label is certain."""
    ratio = policy - reference
    return (ratio[:, 0] - 0.5 / beta) ** 2 + (ratio[:, 1] + 0.5 / beta) ** 2


def apo_zero(policy: PerSide, reference: PerSide, lengths: Lengths, *, beta: float) -> PerPair:
    """Returns `1 - sig(b c) + sig(b r)`: APO-zero (D'Oosterlinck et al. 2024, eq. 7).

    For chosen answers better than what the model says by itself: they get likelier and the rejected ones less so.
    """
    reward = beta * (policy - reference)
    return 1.0 - sigmoid(reward[:, 0]) + sigmoid(reward[:, 1])


def apo_down(policy: PerSide, reference: PerSide, lengths: Lengths, *, beta: float) -> PerPair:
    """Returns `sig(b c) + 1 - sig(b d)`: APO-down (D'Oosterlinck et al. 2024, eq. 8).

    For chosen answers worse than what the model says by itself: both get less likely, the rejected ones more so.
    """
    reward = beta * (policy - reference)
    return sigmoid(reward[:, 0]) + 1.0 - sigmoid(reward[:, 0] - reward[:, 1])


def discopop(
    policy: PerSide, reference: PerSide, lengths: Lengths, *, beta: float, discopop_tau: float = 0.05
) -> PerPair:
    """Returns `-logsig(L) (1 - m) + exp(-L) m`, L = b d, m = sig(L / tau): DiscoPOP (Lu et al. 2024, eq. 5)."""
    scaled = beta * log_ratio_margin(policy, reference)
    # As one exponent: far below zero exp(-L) overflows although m makes the product vanish.
    exponential = jnp.exp(log_sigmoid(scaled / discopop_tau) - scaled)
    return -log_sigmoid(scaled) * sigmoid(-scaled / discopop_tau) + exponential


def aot(policy: PerSide, reference: PerSide, lengths: Lengths, *, beta: float, label_smoothing: float = 0.0) -> PerPair:
    """Returns the loss of paired AOT (Melnyk et al. 2024, alg. 1): the logistic loss between *sorted* margins.

    D = sort(lp_c - lp_r) - sort(lr_c - lr_r), both sorted over the global batch: the policy's margins should dominate
    the reference's as distributions, not pair by pair.
    """
    return _sorted_logistic(
        policy[:, 0] - policy[:, 1], reference[:, 0] - reference[:, 1], lengths, beta, label_smoothing
    )


def aot_unpaired(
    policy: PerSide, reference: PerSide, lengths: Lengths, *, beta: float, label_smoothing: float = 0.0
) -> PerPair:
    """Returns the loss of unpaired AOT (Melnyk et al. 2024): D = sort(c) - sort(r) of the two sides' log-ratios."""
    ratio = policy - reference
    return _sorted_logistic(ratio[:, 0], ratio[:, 1], lengths, beta, label_smoothing)


def _smoothed_logistic(scaled: PerPair, label_smoothing: float) -> PerPair:
    return -(1.0 - label_smoothing) * log_sigmoid(scaled) - label_smoothing * log_sigmoid(-scaled)


def _sorted_logistic(upper: PerPair, lower: PerPair, lengths: Lengths, beta: float, label_smoothing: float) -> PerPair:
    """Returns the logistic loss of `sort(upper) - sort(lower)`, each value at the pair whose `upper` has its rank.

    Filler pairs are pushed behind all real ones in both orders, so that they meet only each other.
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
    "aot": aot,
    "aot_unpaired": aot_unpaired,
    "aot_pair": aot_unpaired,  # the name it had first
}

ACROSS_PAIRS = frozenset({"aot", "aot_unpaired", "aot_pair"})
"""Losses in which one pair's value depends on the others: they must see the whole batch of an update at once."""


def looks_across_pairs(loss_type: str | Callable[..., PerPair]) -> bool:
    """Returns whether a loss needs the whole batch; of a function that a user brings nothing is known, so it does."""
    return callable(loss_type) or loss_type in ACROSS_PAIRS


def select_loss(loss_type: str | Callable[..., PerPair], **options: float) -> PreferenceLoss:
    """Returns the loss named `loss_type`, or the given function, with those of `options` that it asks for bound.

    >>> loss = select_loss("hinge", beta=0.5, label_smoothing=0.0)
    >>> float(loss(jnp.array([[1.0, 0.0]]), jnp.zeros((1, 2)), jnp.ones((1, 2), int))[0])
    0.5

    Raises:
        ConfigError: no loss has this name, or the function requires an option that does not exist.
    """
    if isinstance(loss_type, str):
        if loss_type not in LOSSES:
            raise ConfigError(
                f"loss_type {loss_type!r} is unknown.{nearest(loss_type, LOSSES)} It is one of: {', '.join(LOSSES)}."
            )
        function = LOSSES[loss_type]
    else:
        function = loss_type
    parameters = list(inspect.signature(function).parameters.values())
    by_position = [p for p in parameters[:3] if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    shown = getattr(function, "__name__", str(function))
    if len(by_position) < 3:
        raise ConfigError(f"the loss function {shown!r} must take (policy, reference, lengths) first.")
    wanted = {p.name: p for p in parameters[3:] if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    missing = [name for name, p in wanted.items() if p.default is p.empty and name not in options]
    if missing:
        raise ConfigError(
            f"the loss function {shown!r} requires {missing[0]!r}, which is not an option here. "
            f"It may ask for: {', '.join(options)}; give any other parameter a default."
        )
    return partial(function, **{name: value for name, value in options.items() if name in wanted})
