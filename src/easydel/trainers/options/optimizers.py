"""Options of the optimizer, and its names in transformers and axolotl: which are one of ours, why others are not.

docs/migrating.md has them too; a test compares them.
"""

import dataclasses
from collections.abc import Mapping
from typing import Literal

from easydel.trainers.options.fields import option

SAME: Mapping[str, str] = {
    **dict.fromkeys(("adamw_torch", "adamw_torch_fused", "adamw_torch_xla", "adamw_torch_npu_fused"), "adamw"),
    **dict.fromkeys(("adamw_hf", "adamw_apex_fused", "adamw_anyprecision", "optimi_adamw"), "adamw"),
    "paged_adamw_32bit": "adamw",
    **dict.fromkeys(("lion_32bit", "paged_lion_32bit", "lion_pytorch"), "lion"),
    **dict.fromkeys(("rmsprop_bnb", "rmsprop_bnb_32bit"), "rmsprop"),
}
"""Names of what computes the same: fused, paged and on other devices."""

_BITS = "it keeps its moments in 8 bits or fewer, and here they have 32 or 16: use"
_LOW_RANK = "it keeps its moments for a projection of the gradients: use 'adafactor', or 'adamw' with lora_rank."
_IN_BACKWARD = "it updates weights within the backward pass, to keep no gradients: use 'adafactor'."
_SLOW = "it is AdamW with a second, slower momentum: use 'adamw'."
_NO_SCHEDULE = "it averages weights in place of a schedule: use 'adamw', with the scheduler that you like."
_BFLOAT16 = (
    "mu_dtype = 'bfloat16' and nu_dtype = 'bfloat16', 4 bytes a weight, or 'adafactor', which needs nearly none."
)

REFUSED: Mapping[str, str] = {
    **dict.fromkeys(("adamw_bnb_8bit", "adamw_8bit", "paged_adamw_8bit"), f"{_BITS} 'adamw' with {_BFLOAT16}"),
    **dict.fromkeys(("adamw_torch_8bit", "adamw_torch_4bit"), f"{_BITS} 'adamw' with {_BFLOAT16}"),
    **dict.fromkeys(("ao_adamw_8bit", "ao_adamw_4bit", "ao_adamw_fp8"), f"{_BITS} 'adamw' with {_BFLOAT16}"),
    **dict.fromkeys(("lion_8bit", "paged_lion_8bit"), f"{_BITS} 'lion' with mu_dtype = 'bfloat16', 2 bytes a weight."),
    "rmsprop_bnb_8bit": f"{_BITS} 'rmsprop' with nu_dtype = 'bfloat16', 2 bytes a weight.",
    **dict.fromkeys(("ademamix", "ademamix_8bit", "paged_ademamix_32bit", "paged_ademamix_8bit"), _SLOW),
    **dict.fromkeys(("galore_adamw", "galore_adamw_8bit", "galore_adafactor"), _LOW_RANK),
    **dict.fromkeys(("galore_adamw_layerwise", "galore_adamw_8bit_layerwise", "galore_adafactor_layerwise"), _LOW_RANK),
    **dict.fromkeys(("apollo_adamw", "apollo_adamw_layerwise"), _LOW_RANK),
    **dict.fromkeys(("lomo", "adalomo"), _IN_BACKWARD),
    **dict.fromkeys(("schedule_free_radam", "schedule_free_adamw", "schedule_free_sgd"), _NO_SCHEDULE),
    "sgd": "its one step size for all weights is not what language models are tuned with: use 'adamw' or 'lion'.",
    "adagrad": "it never forgets a gradient: use 'rmsprop' or 'adamw', which do.",
    "grokadamw": "it amplifies slow gradients for training that lasts far beyond fitting the data: use 'adamw'.",
    "stable_adamw": "it clips the update of each tensor, as 'adafactor' does: use that, or 'adamw' with clip_grad.",
    "adopt_adamw": "it is AdamW with its two moments in another order: use 'adamw'.",
    "came_pytorch": "it is Adafactor with a measure of confidence: use 'adafactor'.",
    "dion": "it is Muon for weights that are split, which 'muon' is here too: use that.",
}
"""Names of what is not available, with the reason and what to use."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimizerOptions:
    """How gradients become updates."""

    optimizer: str = option(
        "adamw",
        "optimizer; names of transformers for one of these, such as adamw_torch_fused, are read as it",
        group="optimizer",
        choices=("adamw", "adafactor", "lion", "rmsprop", "muon"),
        same=SAME,
        refused=REFUSED,
    )
    learning_rate: float = option(1e-6, "peak learning rate", common=True, above=0)
    weight_decay: float = option(
        0.0, "decoupled weight decay, times the learning rate; norms and biases have none", at_least=0
    )
    clip_grad: float | None = option(None, "max global norm of the gradient (default: no clipping)", above=0)
    adam_beta1: float | None = option(
        None,
        "decay of the first moment (default: the optimizer's own, 0.9 of each that has one)",
        needs={"optimizer": ("adamw", "lion", "muon")},
        at_least=0,
        below=1,
    )
    adam_beta2: float | None = option(
        None,
        "decay of the second moment, of lion of what it keeps of the first (default: the optimizer's own, 0.999 of "
        "adamw and muon, 0.99 of lion and rmsprop)",
        needs={"optimizer": ("adamw", "lion", "rmsprop", "muon")},
        at_least=0,
        below=1,
    )
    adam_epsilon: float | None = option(
        None,
        "added to the root in the denominator of the update (default: 1e-8)",
        needs={"optimizer": ("adamw", "rmsprop", "muon")},
        above=0,
    )
    mu_dtype: Literal["float32", "bfloat16"] = option(
        "float32",
        "dtype in which the first moment of each weight is kept; bfloat16 saves 2 bytes per weight",
        needs={"optimizer": ("adamw", "lion", "muon")},
    )
    nu_dtype: Literal["float32", "bfloat16"] = option(
        "float32",
        "dtype in which the second moment is kept; bfloat16 is rounded stochastically, right on average",
        needs={"optimizer": ("adamw", "rmsprop", "muon")},
    )
