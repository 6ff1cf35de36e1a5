"""Preference optimization for Hugging Face language models, in JAX.

Names are imported when they are first used, so that `import easydel` and `--help` load neither jax nor transformers.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from easydel.errors import ConfigError, DataError, Interrupted, WeightsError
    from easydel.models.auto import AutoEasyDeLModelForCausalLM
    from easydel.trainers.config import DPOConfig
    from easydel.trainers.dpo import DPOTrainer

__version__ = "0.1.0"

__all__ = [
    "AutoEasyDeLModelForCausalLM",
    "ConfigError",
    "DPOConfig",
    "DPOTrainer",
    "DataError",
    "Interrupted",
    "WeightsError",
    "__version__",
]

_HOME = {
    "AutoEasyDeLModelForCausalLM": "easydel.models.auto",
    "ConfigError": "easydel.errors",
    "DPOConfig": "easydel.trainers.config",
    "DPOTrainer": "easydel.trainers.dpo",
    "DataError": "easydel.errors",
    "Interrupted": "easydel.errors",
    "WeightsError": "easydel.errors",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
