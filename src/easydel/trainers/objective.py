"""What a run minimizes: one or several losses with weights, and what each of them asks for by name."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.lax import stop_gradient
from jaxtyping import Array, Float

from easydel.data.pack import Batch
from easydel.data.pair import RowNumbers
from easydel.errors import ConfigError, nearest
from easydel.logprobs import CompletionLogprobs
from easydel.losses import DIVERGENCES, LOSSES, Lengths, Logps, PerPair, Scalar
from easydel.models.experts import balance
from easydel.models.kinds import Experts
from easydel.trainers.config import DPOConfig
from easydel.trainers.options.fields import listed
from easydel.trainers.options.losses import SETTINGS, users_of

# What a loss asks for in place of a setting: the function of that name, the mean so far.
KEYWORDS = {"f_divergence_type": "divergence", "bco_running_mean": "reward_shift"}


class PairFacts(NamedTuple):
    """What is known of the pairs of a batch besides their log-probabilities, and of all pairs of the update."""

    lengths: Lengths
    # The numbers of the rows, see `easydel.data.pair.RowNumbers`.
    weight: PerPair
    margin: PerPair
    preference: PerPair
    score_gap: PerPair
    mean_chosen_length: Scalar  # tokens per chosen completion, over all pairs of the update
    reward_shift: Scalar  # delta of `losses.bco_pair`


class Facts(NamedTuple):
    """What a loss may ask for by name, besides settings and `divergence`."""

    margin: PerPair
    preference: PerPair
    score_gap: PerPair
    full_policy: Logps  # the policy's log-probabilities without `ld_alpha`
    mean_chosen_length: Scalar
    reward_shift: Scalar


class Term(NamedTuple):
    """One summand: its weight, the loss with its settings bound, and the names of the facts it asks for."""

    weight: float
    loss: "partial[PerPair]"
    facts: tuple[str, ...] = ()


class Balance(NamedTuple):
    """The summand that keeps the experts of a model equally used, see `models.experts.balance`."""

    coefficient: float
    per_token: int


@dataclass(frozen=True)
class Objective:
    """The value of each pair: `weight_i * w_i * sum_k weight_k loss_k`. Static, closed over when a step is compiled.

    With experts, what keeps them equally used is added to each; it depends on the batch alone.

    Attributes:
        terms: the losses and their weights.
        across_pairs: the value of a pair depends on the other pairs of the update.
        beta: for the logged rewards.
        weighting: w_i is the probability of the pair's completions under the policy itself, see `alignment`; else 1.
        running_shift: `reward_shift` is the mean reward so far; else 0.
        ld_alpha: see `logprobs.completion_logprobs`.
        balance: weight of the loss that keeps experts equally used, and to how many of them a token goes.
    """

    terms: tuple[Term, ...]
    across_pairs: bool = False
    beta: float = 0.1
    weighting: bool = False
    running_shift: bool = False
    ld_alpha: float | None = None
    balance: Balance | None = None

    @property
    def pair_by_pair(self) -> bool:
        """Whether the gradient by a pair's log-probabilities depends on these alone, and nothing else has one."""
        return not (self.across_pairs or self.weighting or self.ld_alpha is not None or self.balance is not None)

    def __call__(self, out: CompletionLogprobs, reference: Logps, pairs: PairFacts) -> PerPair:
        """Returns the value of each pair; that of a padding pair has no meaning."""
        facts = Facts(
            pairs.margin,
            pairs.preference,
            pairs.score_gap,
            out.full_logps,
            pairs.mean_chosen_length,
            pairs.reward_shift,
        )
        value = jnp.zeros_like(out.logps[:, 0])
        for weight, loss, names in self.terms:
            asked = {name: getattr(facts, name) for name in names}
            value += weight * loss(out.logps, reference, pairs.lengths, **asked)
        if self.weighting:
            value *= alignment(out, pairs.lengths)
        value = pairs.weight * value
        return value if self.balance is None else value + self.balance.coefficient * self.auxiliary(out)

    def auxiliary(self, out: CompletionLogprobs) -> Scalar:
        """Returns the loss of routers that send tokens to some experts more than to others; 0 without `balance`."""
        if self.balance is None or out.routing is None:
            return 0.0
        return balance(jnp.sum(out.routing, axis=0), self.balance.per_token)


def alignment(out: CompletionLogprobs, lengths: Lengths) -> PerPair:
    """Returns `w_c w_r` with `w_y = exp(mean_t(log p_t - log sum_v p_v^2))`: WPO (Zhou et al. 2024, eq. 2).

    How likely the policy itself would write the two completions, compared with what it writes on average; no gradient.
    """
    mean = (out.full_logps - out.collision) / jnp.maximum(lengths, 1).astype(out.collision.dtype)
    return stop_gradient(jnp.exp(jnp.sum(mean, axis=1)))


def pair_facts(batch: Batch, mean_chosen_length: Scalar, reward_shift: Scalar = 0.0) -> PairFacts:
    """Returns the facts about one micro-batch."""
    of_rows = {name: jnp.asarray(getattr(batch, name)) for name in ("lengths", *RowNumbers._fields)}
    return PairFacts(**of_rows, mean_chosen_length=mean_chosen_length, reward_shift=reward_shift)


def mean_chosen_length(batch: Batch) -> Float[Array, ""]:
    """Returns the mean number of tokens of the chosen completions, over all micro-batches; at least 1."""
    chosen = jnp.asarray(batch.lengths)[..., 0]
    return jnp.maximum(jnp.sum(chosen), 1) / jnp.maximum(jnp.sum(chosen > 0), 1)


def make_objective(config: DPOConfig, experts: Experts | None = None) -> Objective:
    """Returns the objective that the settings describe, for a model with these experts.

    Raises:
        ConfigError: a function that cannot be called as a loss, or `router_aux_loss_coef` for a model without experts.
    """
    summand = _balance(config, experts)
    losses = config.losses
    terms = [_term(loss, weight, config) for loss, weight in losses]
    if any(callable(loss) for loss, _ in losses):
        _check_used(config, terms)
    return Objective(
        tuple(terms),
        across_pairs=summand is not None or any(traits.across_pairs for traits in config.traits),
        beta=config.beta,
        weighting=config.use_weighting,
        running_shift=config.bco_running_mean,
        ld_alpha=config.ld_alpha,
        balance=summand,
    )


def _balance(config: DPOConfig, experts: Experts | None) -> Balance | None:
    given = config.router_aux_loss_coef
    if experts is None:
        if given:
            raise ConfigError(f"router_aux_loss_coef = {given} has no effect: the model has no experts. Leave it out.")
        return None
    if experts.aux_coefficient is None:
        if given:
            raise ConfigError(
                f"router_aux_loss_coef = {given} has no effect: the routers of this model are balanced by correction "
                "biases, and transformers has no loss for that. Leave it out."
            )
        return None
    coefficient = experts.aux_coefficient if given is None else given
    return Balance(coefficient, experts.per_token) if coefficient else None


def _check_used(config: DPOConfig, terms: list[Term]) -> None:
    """Raises ConfigError for a setting that no loss asks for; where all have names, `DPOConfig` has checked it."""
    asked = {name for term in terms for name in (*term.loss.keywords, *term.facts)}
    for setting in SETTINGS:
        keyword = KEYWORDS.get(setting, setting)
        if getattr(config, setting) != getattr(DPOConfig, setting) and keyword not in asked:
            raise ConfigError(
                f"{setting} = {getattr(config, setting)!r} has no effect: no loss of this run takes {keyword!r}. Let "
                f"your function ask for it, leave it out, or use {listed(users_of(setting))}."
            )


def _term(loss: str | Callable[..., PerPair], weight: float, config: DPOConfig) -> Term:
    function = LOSSES[loss] if isinstance(loss, str) else loss
    divergence = DIVERGENCES[config.f_divergence_type]
    if config.f_divergence_type == "alpha_divergence":
        divergence = partial(divergence, alpha=config.f_alpha_divergence_coef)
    bound = {name: getattr(config, name) for name in ("beta", *SETTINGS) if name not in KEYWORDS}
    bound["divergence"] = divergence
    wanted = _keywords(function, (*bound, *Facts._fields))
    options = {name: value for name, value in bound.items() if name in wanted}
    term = Term(weight, partial(function, **options), tuple(name for name in Facts._fields if name in wanted))
    if not isinstance(loss, str):
        _try_out(term, getattr(loss, "__name__", str(loss)))
    return term


def _try_out(term: Term, name: str) -> None:
    """Raises ConfigError where a function of the user's does not return one value per pair; nothing is computed."""
    per_pair, logps = jnp.zeros(5), jnp.zeros((5, 2))
    facts = Facts(per_pair, per_pair, per_pair, logps, jnp.ones(()), jnp.zeros(()))
    asked = {fact: getattr(facts, fact) for fact in term.facts}
    try:
        value = jax.eval_shape(partial(term.loss, **asked), logps, logps, jnp.ones((5, 2), jnp.int32))
    except Exception as error:
        error.add_note(f"This was raised by the loss function {name!r}, which gets jax arrays: use jax.numpy in it.")
        raise
    if not isinstance(value, jax.ShapeDtypeStruct) or value.shape != (5,):
        shape = list(value.shape) if isinstance(value, jax.ShapeDtypeStruct) else type(value).__name__
        raise ConfigError(
            f"the loss function {name!r} must return one value per pair: for 5 pairs an array of shape [5], "
            f"not {shape}."
        )


def _keywords(function: Callable[..., PerPair], known: tuple[str, ...]) -> tuple[str, ...]:
    """Returns the names of the keywords that a loss takes.

    Raises:
        ConfigError: it does not take three arrays first, or requires a keyword that is not known.
    """
    parameters = list(inspect.signature(function).parameters.values())
    by_position = [p for p in parameters[:3] if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    shown = getattr(function, "__name__", str(function))
    if len(by_position) < 3:
        raise ConfigError(f"the loss function {shown!r} must take (policy, reference, lengths) first.")
    wanted = {p.name: p for p in parameters[3:] if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    missing = [name for name, p in wanted.items() if p.default is p.empty and name not in known]
    if missing:
        raise ConfigError(
            f"the loss function {shown!r} requires {missing[0]!r}, which is not an option.{nearest(missing[0], known)} "
            f"It may ask for: {', '.join(known)}; give any other parameter a default."
        )
    return tuple(wanted)
