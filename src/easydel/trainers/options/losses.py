"""The losses by name with what each needs, and the options of what is minimized.

A loss is one function in `easydel.losses` and one row of `TRAITS`; a setting of its own is one field of
`LossOptions`, which the row names.
"""

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from easydel.errors import ConfigError
from easydel.trainers.options.fields import listed, option

Loss = str | Callable[..., Any]


class LossTraits(NamedTuple):
    """What a run must know of a loss without computing it.

    Attributes:
        settings: the options that are in its definition, besides `beta`.
        needs_reference: it looks at the reference's log-probabilities, which else are not computed.
        across_pairs: the value of a pair depends on the other pairs, so that it is given all pairs of an update.
        numbers: the numbers of a row that it looks at, besides the weight: `easydel.data.pair.RowNumbers`.
    """

    settings: tuple[str, ...] = ()
    needs_reference: bool = True
    across_pairs: bool = False
    numbers: tuple[str, ...] = ()


_SMOOTHED, _DIVERGENCE = "label_smoothing", "f_divergence_type"
_SOFT, _SCORED = ("preference",), ("score_gap",)

TRAITS: Mapping[str, LossTraits] = {
    "sigmoid": LossTraits((_SMOOTHED, _DIVERGENCE, "length_penalty"), numbers=("margin", *_SOFT)),
    "sigmoid_norm": LossTraits((_DIVERGENCE,)),
    "hinge": LossTraits((_DIVERGENCE,)),
    "ipo": LossTraits((_DIVERGENCE,)),
    "robust": LossTraits((_SMOOTHED, _DIVERGENCE), numbers=_SOFT),
    "exo_pair": LossTraits((_SMOOTHED, _DIVERGENCE), numbers=_SOFT),
    "discopop": LossTraits(("discopop_tau", _DIVERGENCE)),
    "dpop": LossTraits(("dpop_lambda",)),
    "nca_pair": LossTraits(),
    "bco_pair": LossTraits(("bco_running_mean",)),
    "sppo_hard": LossTraits(),
    "apo_zero": LossTraits(),
    "apo_down": LossTraits(),
    "kto_pair": LossTraits(across_pairs=True),
    "rpo_sq": LossTraits(("score_scale", _DIVERGENCE), numbers=_SCORED),
    "rpo_bwd_kl": LossTraits(("score_scale", _DIVERGENCE), numbers=_SCORED),
    "rpo_fwd_kl": LossTraits(("score_scale", _DIVERGENCE), numbers=_SCORED),
    "odpo": LossTraits(("odpo_alpha", _DIVERGENCE), numbers=_SCORED),
    "aot": LossTraits((_SMOOTHED,), across_pairs=True, numbers=_SOFT),
    "aot_unpaired": LossTraits((_SMOOTHED,), across_pairs=True, numbers=_SOFT),
    "aot_pair": LossTraits((_SMOOTHED,), across_pairs=True, numbers=_SOFT),
    "sft": LossTraits(needs_reference=False),
    "simpo": LossTraits(("simpo_gamma",), needs_reference=False),
    "cpo": LossTraits(("cpo_alpha",), needs_reference=False),
    "orpo": LossTraits(needs_reference=False),
    "alphapo": LossTraits(("alphapo_alpha", "simpo_gamma"), needs_reference=False),
}
SETTINGS = tuple(dict.fromkeys(name for traits in TRAITS.values() for name in traits.settings))
"""The options that some losses have, and others not."""
# What open-instruct calls some of them.
_REFUSED = {
    "dpo": "it is called 'sigmoid'.",
    "dpo_norm": "it is called 'sigmoid_norm'.",
    "wpo": "it is 'sigmoid' with use_weighting = True.",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class LossOptions:
    """What is minimized."""

    loss_type: str | list[str] | Callable[..., Any] = option(
        "sigmoid",
        "preference loss, or several to add up; in Python also a function of your own",
        group="loss",
        common=True,
        choices=tuple(TRAITS),
        refused=_REFUSED,
    )
    loss_weights: list[float] | None = option(None, "weight of each loss (default: 1 each)", at_least=0)
    beta: float = option(0.1, "how strongly the policy is kept near the reference", common=True, above=0)
    label_smoothing: float = option(
        0.0, "share of preference labels assumed to be wrong; exo_pair needs more than 0", at_least=0, below=0.5
    )
    length_penalty: float = option(
        0.0, "reward that each token of a completion costs it in sigmoid (R-DPO)", at_least=0
    )
    dpop_lambda: float = option(
        50.0, "how much dpop counts a chosen completion that has become less likely than at first", at_least=0
    )
    score_scale: float = option(
        1.0, "reward margin of rpo_sq, rpo_bwd_kl and rpo_fwd_kl for each point that scores differ by", above=0
    )
    odpo_alpha: float = option(
        1.0, "weight of the offset of odpo, the logarithm of how much the scores differ", at_least=0
    )
    rpo_alpha: float | None = option(
        None, "weight of the likelihood of the chosen completions (sft) beside the loss (default: 0)", at_least=0
    )
    use_weighting: bool = option(False, "weight each pair by how likely the policy itself would write it (WPO)")
    ld_alpha: float | None = option(
        None,
        "weight of the tokens of a completion beyond the length of the shorter one (LD-DPO) (default: 1)",
        at_least=0,
        at_most=1,
    )
    f_divergence_type: str = option(
        "reverse_kl",
        "divergence from the reference that is penalized (f-DPO)",
        choices=("reverse_kl", "forward_kl", "js_divergence", "alpha_divergence"),
    )
    f_alpha_divergence_coef: float = option(
        0.5, "alpha of alpha_divergence", needs={"f_divergence_type": ("alpha_divergence",)}
    )
    discopop_tau: float = option(0.05, "temperature at which discopop blends its two losses", above=0)
    bco_running_mean: bool = option(False, "bco_pair shifts rewards by their mean so far in training, instead of by 0")
    simpo_gamma: float = option(0.5, "margin between the rewards of simpo and alphapo")
    alphapo_alpha: float = option(0.25, "shape of the reward of alphapo; 0 is simpo")
    cpo_alpha: float = option(1.0, "weight of the likelihood of the chosen completions in cpo", at_least=0)
    router_aux_loss_coef: float | None = option(
        None, "weight of the loss that balances the experts of a model (default: that of the model)", at_least=0
    )

    @property
    def losses(self) -> list[tuple[Loss, float]]:
        """Each loss of the run with its weight; `rpo_alpha` adds the likelihood of the chosen completions (`sft`)."""
        losses = self.loss_type if isinstance(self.loss_type, list) else [self.loss_type]
        weighted = list(zip(losses, self.loss_weights or [1.0] * len(losses), strict=True))
        return weighted if self.rpo_alpha is None else [*weighted, ("sft", self.rpo_alpha)]

    @property
    def traits(self) -> list[LossTraits]:
        """The traits of each loss; a function of your own is assumed to look at everything."""
        return [TRAITS[loss] if isinstance(loss, str) else _traits_of(loss) for loss, _ in self.losses]


def check_losses(config: LossOptions) -> None:
    """Raises ConfigError for losses and weights that do not match, and for settings that no loss of the run has."""
    count, weights = len(config.loss_type) if isinstance(config.loss_type, list) else 1, config.loss_weights
    if weights is not None and len(weights) != count:
        words = "the one loss" if count == 1 else f"each of the {count} losses"
        raise ConfigError(f"loss_weights = {weights} must be one weight for {words} in loss_type.")
    if weights is not None and not any(weights) and not config.rpo_alpha:
        raise ConfigError(f"loss_weights = {weights} leave nothing to minimize: give a loss a weight above 0.")
    names = [loss for loss, _ in config.losses if isinstance(loss, str)]
    for setting in SETTINGS:
        _check_used(config, setting, names)
    if config.f_divergence_type != "reverse_kl":
        others = [name for name in names if _DIVERGENCE not in TRAITS[name].settings and name != "sft"]
        if others:
            raise ConfigError(
                f"f_divergence_type = {config.f_divergence_type!r} is not defined for loss_type {others[0]!r}, only "
                f"for {listed(users_of(_DIVERGENCE))}: set it to 'reverse_kl', or use one of these."
            )
    if "exo_pair" in names and config.label_smoothing == 0:
        raise ConfigError(
            "label_smoothing = 0.0 must be above 0 for loss_type 'exo_pair', which takes its logarithm: try 0.001."
        )


def _traits_of(loss: Callable[..., Any]) -> LossTraits:
    """Scores are a must for a loss that looks at them, so that a function has to ask for them by name."""
    scored = _SCORED if "score_gap" in inspect.signature(loss).parameters else ()
    return LossTraits(SETTINGS, across_pairs=True, numbers=("margin", *_SOFT, *scored))


def users_of(setting: str) -> list[str]:
    """Returns the losses that have a setting.

    >>> users_of("simpo_gamma")
    ['simpo', 'alphapo']
    """
    return [name for name, traits in TRAITS.items() if setting in traits.settings]


def _check_used(config: LossOptions, setting: str, names: Sequence[str]) -> None:
    value = getattr(config, setting)
    if value != getattr(type(config), setting) and not any(setting in traits.settings for traits in config.traits):
        shown = repr(names[0]) if len(names) == 1 else repr(list(names))
        raise ConfigError(
            f"{setting} = {value!r} has no effect with loss_type = {shown}: leave it out, or use "
            f"{listed(users_of(setting))}."
        )
