"""Options of the reference model."""

import dataclasses
from typing import TYPE_CHECKING

from easydel.errors import ConfigError
from easydel.trainers.options.fields import option

if TYPE_CHECKING:
    from easydel.trainers.config import DPOConfig

_SYNCED = {"sync_ref_model": True}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReferenceOptions:
    """Whether there is a reference, whether it moves, when it is computed."""

    reference_free: bool = option(False, "train without a reference: its log-probabilities are 0", group="reference")
    sync_ref_model: bool = option(False, "move the reference towards the policy during training (TR-DPO)")
    ref_model_sync_steps: int = option(64, "steps between two moves of the reference", needs=_SYNCED, at_least=1)
    ref_model_mixup_alpha: float = option(
        0.9,
        "weight of the policy in reference <- alpha policy + (1 - alpha) reference",
        needs=_SYNCED,
        at_least=0,
        at_most=1,
    )
    precompute_ref_log_probs: bool = option(
        False, "compute the reference's log-probabilities once, before training, and free its weights"
    )
    precompute_ref_batch_size: int | None = option(
        None,
        "pairs per batch when they are precomputed (default: the batches of training)",
        needs={"precompute_ref_log_probs": True},
        at_least=1,
    )


def check_reference(config: "DPOConfig") -> None:
    """Raises ConfigError for options of a reference that the losses, or one another, contradict."""
    unused = f"loss_type {config.loss_type!r} trains without a reference"
    if config.reference_free and not any(traits.needs_reference for traits in config.traits):
        raise ConfigError(f"reference_free = True has no effect: {unused} anyway. Leave it out.")
    why = "reference_free = True trains without a reference" if config.reference_free else unused
    for name in ("sync_ref_model", "precompute_ref_log_probs"):
        if getattr(config, name) and not config.needs_reference:
            raise ConfigError(f"{name} = True needs a reference, but {why}: leave out one of the two.")
    if config.precompute_ref_log_probs and config.sync_ref_model:
        raise ConfigError(
            "precompute_ref_log_probs = True needs a reference that stays the same, but sync_ref_model = True moves "
            "it: leave out one of the two."
        )
