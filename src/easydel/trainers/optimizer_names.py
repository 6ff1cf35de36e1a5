"""The names that transformers and axolotl have for optimizers: those that are one of ours, and why the others are not.

docs/migrating.md has them too; a test holds one to the other.
"""

from collections.abc import Mapping

SAME: Mapping[str, str] = {
    **dict.fromkeys(("adamw_torch", "adamw_torch_fused", "adamw_torch_xla", "adamw_torch_npu_fused"), "adamw"),
    **dict.fromkeys(("adamw_hf", "adamw_apex_fused", "adamw_anyprecision", "optimi_adamw"), "adamw"),
    "paged_adamw_32bit": "adamw",
    **dict.fromkeys(("lion_32bit", "paged_lion_32bit", "lion_pytorch"), "lion"),
    **dict.fromkeys(("rmsprop_bnb", "rmsprop_bnb_32bit"), "rmsprop"),
}
"""Names of what computes the same: fused, paged and on other devices."""

_BITS = "it keeps its moments in 8 bits or fewer, and here they have 32 or 16: take"
_LOW_RANK = "it keeps its moments for a projection of the gradients: take 'adafactor', or 'adamw' with lora_rank."
_IN_BACKWARD = "it updates weights within the backward pass, to keep no gradients: take 'adafactor'."
_SLOW = "it is AdamW with a second, slower momentum: take 'adamw'."
_NO_SCHEDULE = "it averages weights in place of a schedule: take 'adamw', with the scheduler that you like."
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
    "sgd": "its one step size for all weights is not what language models are tuned with: take 'adamw' or 'lion'.",
    "adagrad": "it never forgets a gradient: take 'rmsprop' or 'adamw', which do.",
    "grokadamw": "it amplifies slow gradients for training that lasts far beyond fitting the data: take 'adamw'.",
    "stable_adamw": "it clips the update of each tensor, as 'adafactor' does: take that, or 'adamw' with clip_grad.",
    "adopt_adamw": "it is AdamW with its two moments in another order: take 'adamw'.",
    "came_pytorch": "it is Adafactor with a measure of confidence: take 'adafactor'.",
    "dion": "it is Muon for weights that are split, which 'muon' is here too: take that.",
}
"""Names of what is not here, with the reason and what to take."""
