"""`DPOConfig` and `DPOTrainer`. The trainer, which needs jax, is imported when it is first asked for."""

from typing import TYPE_CHECKING, Any

from easydel.trainers.config import DPOConfig

if TYPE_CHECKING:
    from easydel.trainers.dpo import DPOTrainer

__all__ = ["DPOConfig", "DPOTrainer"]


def __getattr__(name: str) -> Any:
    if name == "DPOTrainer":
        from easydel.trainers.dpo import DPOTrainer

        return DPOTrainer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
