"""Options of what is trained: which weights, or which adapters beside them."""

import dataclasses
import re
from typing import Literal

from easydel.errors import ConfigError
from easydel.trainers.options.fields import free_option, option

_ADAPTED = {"lora_rank": 16}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """What of a model is trained."""

    param_dtype: Literal["float32", "bfloat16", "float16"] | None = option(
        None, "dtype of the trained weights (default: the model's)", group="model"
    )
    frozen_parameters: str | None = option(
        None,
        "regular expression for the names of weights, as in the checkpoint or ours, that are not trained: they keep "
        "their bits and have no optimizer state (default: all are trained)",
    )
    disable_dropout: bool = option(True, "train without the model's own dropout")

    lora_rank: int | None = option(
        None,
        "train adapters of this rank beside the weights, which stay as they are (LoRA) (default: train the weights)",
        group="LoRA",
        common=True,
        at_least=1,
    )
    lora_alpha: float | None = option(
        None,
        "the output of adapters is multiplied by lora_alpha / lora_rank (default: twice the rank)",
        common=True,
        needs=_ADAPTED,
        above=0,
    )
    lora_dropout: float = option(
        0.0, "share of the inputs of adapters dropped in training", needs=_ADAPTED, at_least=0, below=1
    )
    lora_target_modules: str | list[str] | None = option(
        None,
        "modules with adapters, by the ends of their names, such as q_proj,v_proj, or one regular expression for "
        "entire names (default: all-linear, every matrix of the layers)",
        needs=_ADAPTED,
    )
    use_dora: bool = option(
        False, "adapters also learn the length of each output's weight vector (DoRA)", needs=_ADAPTED
    )
    use_rslora: bool = option(False, "multiply by lora_alpha / sqrt(lora_rank) instead (rsLoRA)", needs=_ADAPTED)
    merge_lora_before_save: bool = free_option(
        False, "save the entire model with its adapters merged, instead of the adapters"
    )


def check_model_options(config: ModelOptions) -> None:
    """Raises ConfigError for a `frozen_parameters` that is not a regular expression."""
    try:
        re.compile(config.frozen_parameters or "")
    except re.error as error:
        raise ConfigError(
            f"frozen_parameters = {config.frozen_parameters!r} is not a regular expression: {error}."
        ) from None
