"""Which settings each loss has a use for, and the checks made from that. No jax, so that `--help` answers at once."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from easydel.errors import ConfigError

# The names of `easydel.losses.LOSSES`, which cannot be imported without jax; a test holds the two together.
LOSS_TYPES = (
    "sigmoid",
    "sigmoid_norm",
    "hinge",
    "ipo",
    "robust",
    "exo_pair",
    "nca_pair",
    "bco_pair",
    "sppo_hard",
    "apo_zero",
    "apo_down",
    "discopop",
    "kto_pair",
    "aot",
    "aot_unpaired",
    "aot_pair",
    "sft",
    "simpo",
    "cpo",
    "orpo",
    "alphapo",
)
# What open-instruct calls some of them.
OTHER_NAMES = {
    "dpo": "it is called 'sigmoid'.",
    "dpo_norm": "it is called 'sigmoid_norm'.",
    "wpo": "it is 'sigmoid' with use_weighting = True.",
}
DIVERGENCE_TYPES = ("reverse_kl", "forward_kl", "js_divergence", "alpha_divergence")
# Losses that never look at the reference, so that none is computed.
WITHOUT_REFERENCE = ("sft", "simpo", "cpo", "orpo", "alphapo")
# Losses that look at the margin which a pair may ask for.
WITH_MARGIN = ("sigmoid",)
# The losses that have a setting in their definition; anywhere else a value that is not the default is a mistake.
USED_BY = {
    "label_smoothing": ("sigmoid", "robust", "exo_pair", "aot", "aot_pair", "aot_unpaired"),
    "f_divergence_type": ("sigmoid", "sigmoid_norm", "hinge", "ipo", "robust", "exo_pair", "discopop"),
    "discopop_tau": ("discopop",),
    "bco_running_mean": ("bco_pair",),
    "simpo_gamma": ("simpo", "alphapo"),
    "alphapo_alpha": ("alphapo",),
    "cpo_alpha": ("cpo",),
}

Loss = str | Callable[..., Any]


class LossSettings(Protocol):
    """The part of `DPOConfig` that says what is minimised."""

    @property
    def loss_type(self) -> Loss | list[Any]: ...
    @property
    def loss_weights(self) -> list[float] | None: ...
    @property
    def rpo_alpha(self) -> float | None: ...
    @property
    def label_smoothing(self) -> float: ...
    @property
    def f_divergence_type(self) -> str: ...
    @property
    def f_alpha_divergence_coef(self) -> float: ...


def weighted_losses(config: LossSettings) -> list[tuple[Loss, float]]:
    """Returns each loss of a run with its weight; `rpo_alpha` adds the likelihood of the chosen answers (`sft`)."""
    losses = config.loss_type if isinstance(config.loss_type, list) else [config.loss_type]
    weighted = list(zip(losses, config.loss_weights or [1.0] * len(losses), strict=True))
    return weighted if config.rpo_alpha is None else [*weighted, ("sft", config.rpo_alpha)]


def check_losses(config: LossSettings) -> None:
    """Raises ConfigError for losses and weights that do not match, and for settings that no loss of the run has."""
    count, weights = len(config.loss_type) if isinstance(config.loss_type, list) else 1, config.loss_weights
    if weights is not None and len(weights) != count:
        words = "the one loss" if count == 1 else f"each of the {count} losses"
        raise ConfigError(f"loss_weights = {weights} must be one weight for {words} in loss_type.")
    if weights is not None and not any(weights) and not config.rpo_alpha:
        raise ConfigError(f"loss_weights = {weights} leave nothing to minimise: give a loss a weight above 0.")
    losses = [loss for loss, _ in weighted_losses(config)]
    names = [loss for loss in losses if isinstance(loss, str)]
    if len(names) == len(losses):  # of a function nothing is known
        for setting, users in USED_BY.items():
            _check_used(config, setting, users, names)
    if config.f_divergence_type != "reverse_kl":
        others = [name for name in names if name not in (*USED_BY["f_divergence_type"], "sft")]
        if others:
            raise ConfigError(
                f"f_divergence_type = {config.f_divergence_type!r} is not defined for loss_type {others[0]!r}, only "
                f"for {_listed(USED_BY['f_divergence_type'])}: set it to 'reverse_kl', or take one of these."
            )
    alpha = config.f_alpha_divergence_coef
    if config.f_divergence_type != "alpha_divergence" and alpha != _default(config, "f_alpha_divergence_coef"):
        raise ConfigError(
            f"f_alpha_divergence_coef = {alpha} has no meaning for f_divergence_type "
            f"{config.f_divergence_type!r}: set f_divergence_type = 'alpha_divergence', or leave it out."
        )
    if "exo_pair" in names and config.label_smoothing == 0:
        raise ConfigError(
            "label_smoothing = 0.0 must be above 0 for loss_type 'exo_pair', which takes its logarithm: try 0.001."
        )


def _check_used(config: LossSettings, setting: str, users: Sequence[str], names: Sequence[str]) -> None:
    value = getattr(config, setting)
    if value != _default(config, setting) and not set(names) & set(users):
        shown = repr(names[0]) if len(names) == 1 else repr(list(names))
        raise ConfigError(
            f"{setting} = {value!r} has no meaning for loss_type {shown}: leave it out, or take {_listed(users)}."
        )


def _default(config: LossSettings, setting: str) -> Any:
    return getattr(type(config), setting)


def _listed(names: Sequence[str]) -> str:
    quoted = [repr(name) for name in names]
    return quoted[0] if len(quoted) == 1 else ", ".join(quoted[:-1]) + " or " + quoted[-1]
