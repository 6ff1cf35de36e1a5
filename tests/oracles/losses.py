"""Losses by their definitions in float64, and policies trained with them: what losses are compared with."""

import inspect
import itertools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from easydel.losses import LOSSES

POLICY = np.array([[-5.0, -9.0], [-12.0, -8.5], [-3.25, -3.0], [-40.0, -21.0]])
REFERENCE = np.array([[-6.0, -7.5], [-11.0, -9.0], [-3.0, -3.0], [-30.0, -24.0]])
LENGTHS = np.array([[2, 3], [5, 4], [1, 1], [9, 7]])
BETA, SMOOTHING = 0.3, 0.2
PREFERENCE = np.array([1.0, 0.75, 0.5, 0.1])
GAP = np.array([2.0, 0.5, -1.0, 0.01])


def log_sigmoid(x):
    return -np.log1p(np.exp(-x))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def logistic(x, e):
    return -(1 - e) * log_sigmoid(x) - e * log_sigmoid(-x)


def expected_exo(x, e):
    return kl(sigmoid(x), 1 - e)


def kl(p, q):
    """Between coins that show heads with probability p and q."""
    return p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))


def expected(name: str, preference=1.0) -> np.ndarray:
    """The definitions of losses.md in float64, one line each."""
    b, p = BETA, np.broadcast_to(preference, 4)
    e = p * SMOOTHING + (1 - p) * (1 - SMOOTHING)  # the better one is the rejected one: by mistake, or rightly so
    chosen, rejected = (POLICY - REFERENCE).T
    d = chosen - rejected
    per_token = chosen / LENGTHS[:, 0] - rejected / LENGTHS[:, 1]
    policy_margin, reference_margin = POLICY[:, 0] - POLICY[:, 1], REFERENCE[:, 0] - REFERENCE[:, 1]
    chosen_kl, rejected_kl = max(chosen.mean(), 0), max(rejected.mean(), 0)
    mean_chosen, mean_rejected = (POLICY / LENGTHS).T
    likelihood = -POLICY[:, 0] / LENGTHS[:, 0].mean()
    return {
        "sigmoid": logistic(b * d, e),
        "hinge": np.maximum(0, 1 - b * d),
        "ipo": (per_token - 1 / (2 * b)) ** 2,
        "robust": p * unbiased(b * d) + (1 - p) * unbiased(-b * d),
        "exo_pair": expected_exo(b * d, e),
        "nca_pair": -log_sigmoid(b * chosen) - 0.5 * log_sigmoid(-b * chosen) - 0.5 * log_sigmoid(-b * rejected),
        "sigmoid_norm": -log_sigmoid(b * per_token),
        "bco_pair": -log_sigmoid(b * chosen) - log_sigmoid(-b * rejected),
        "sppo_hard": (chosen - 0.5 / b) ** 2 + (rejected + 0.5 / b) ** 2,
        "apo_zero": 1 - sigmoid(b * chosen) + sigmoid(b * rejected),
        "apo_down": sigmoid(b * chosen) + 1 - sigmoid(b * d),
        "discopop": -log_sigmoid(b * d) * (1 - sigmoid(b * d / 0.05)) + np.exp(-b * d) * sigmoid(b * d / 0.05),
        "dpop": -log_sigmoid(b * (d - 50 * np.maximum(0, REFERENCE[:, 0] - POLICY[:, 0]))),
        "rpo_sq": (b * d - GAP) ** 2,
        "rpo_bwd_kl": kl(sigmoid(GAP), sigmoid(b * d)),
        "rpo_fwd_kl": kl(sigmoid(b * d), sigmoid(GAP)),
        "odpo": [-log_sigmoid(b * x - np.log(gap)) if gap > 0 else 0.0 for x, gap in zip(d, GAP, strict=True)],
        "kto_pair": 0.5 * (2 - sigmoid(b * (chosen - rejected_kl)) - sigmoid(b * (chosen_kl - rejected))),
        "sft": likelihood,
        "simpo": -log_sigmoid(b * (mean_chosen - mean_rejected) - 0.5),
        "cpo": -log_sigmoid(b * policy_margin) + likelihood,
        "orpo": likelihood - b * log_sigmoid(np.log(odds(mean_chosen) / odds(mean_rejected))),
        "alphapo": -log_sigmoid(b * (power_reward(mean_chosen) - power_reward(mean_rejected)) - 0.5),
        "aot": expected_transport(policy_margin, reference_margin, e),
        "aot_unpaired": expected_transport(chosen, rejected, e),
        "aot_pair": expected_transport(chosen, rejected, e),
    }[name]


def unbiased(x, e=SMOOTHING):
    return (-(1 - e) * log_sigmoid(x) + e * log_sigmoid(-x)) / (1 - 2 * e)


def odds(mean):
    return np.exp(mean) / (1 - np.exp(mean))


def power_reward(mean, alpha=0.25):
    return (1 - np.exp(mean) ** -alpha) / alpha


def expected_transport(upper, lower, e):
    """The k-th smallest of one side meets the k-th smallest of the other; the value belongs to the upper one's pair."""
    values = np.zeros(len(upper))
    for rank, pair in enumerate(sorted(range(len(upper)), key=lambda pair: upper[pair])):
        values[pair] = logistic(BETA * (upper[pair] - sorted(lower)[rank]), e[pair])
    return values


def bound(name: str, **options) -> Callable:
    """The loss `(policy, reference, lengths) -> values` with those of the settings and facts that it asks for."""
    asked = inspect.signature(LOSSES[name]).parameters

    def loss(policy, reference, lengths):
        real = jnp.maximum(jnp.sum(lengths[:, 0] > 0), 1)
        given = {"beta": BETA, "label_smoothing": SMOOTHING, "full_policy": policy, **options}
        given.setdefault("score_gap", jnp.asarray(np.resize(GAP, len(policy))))
        given["mean_chosen_length"] = jnp.sum(lengths[:, 0]) / real
        return LOSSES[name](policy, reference, lengths, **{key: given[key] for key in given if key in asked})

    return loss


def pairs(policy, reference, lengths=LENGTHS):
    return jnp.asarray(policy, jnp.float32), jnp.asarray(reference, jnp.float32), jnp.asarray(lengths)


ANSWERS = 4
REWARD = np.array([0.3, -0.4, 0.9, 0.0])
START = np.array([0.5, -0.2, 0.1, 0.4])  # logits of the reference over four one-token answers


def train_tabular(loss, preference, lengths=None) -> np.ndarray:
    """Returns the log-probabilities of a softmax over the answers that minimizes the expected loss of exact labels.

    `preference[i, j]` is how often answer i is preferred to answer j. Newton's method: the problem has four numbers.
    """
    winner, loser = np.array(list(itertools.permutations(range(ANSWERS), 2))).T
    often = jnp.asarray(preference[winner, loser])
    reference = jax.nn.log_softmax(jnp.asarray(START))
    tokens = jnp.ones(ANSWERS, jnp.int32) if lengths is None else jnp.asarray(lengths)

    def sides(logp):
        return jnp.stack([logp[winner], logp[loser]], axis=1)

    def objective(free):  # one logit is fixed, as softmax does not see a common shift
        logp = jax.nn.log_softmax(jnp.concatenate([free, jnp.zeros(1)]))
        return jnp.sum(often * loss(sides(logp), sides(reference), sides(tokens)))

    @jax.jit
    def newton(free):
        return free - jnp.linalg.solve(jax.hessian(objective)(free), jax.grad(objective)(free))

    free = jnp.asarray(START[:-1] - START[-1])
    for _ in range(30):
        free = newton(free)
    return np.asarray(jax.nn.log_softmax(jnp.concatenate([free, jnp.zeros(1)])))


def bradley_terry() -> np.ndarray:
    return 1 / (1 + np.exp(REWARD[None, :] - REWARD[:, None]))


def two_answers(p: float) -> np.ndarray:
    """Labels that only ever compare answers 0 and 1, and hardly anchor the others."""
    preference = np.full((ANSWERS, ANSWERS), 1e-9)
    preference[0, 1], preference[1, 0] = p, 1 - p
    return preference


def margin(logp: np.ndarray) -> float:
    """log(pi_0 / pi_1) - log(ref_0 / ref_1)"""
    return float(logp[0] - logp[1] - (START[0] - START[1]))
