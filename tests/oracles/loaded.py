"""Models of folders on one device: it compiles faster, and `test_sharding.py` holds that the number does not matter."""

from pathlib import Path
from typing import Any

import jax

from easydel.models.auto import AutoEasyDeLModelForCausalLM
from easydel.models.causal_lm import CausalLM
from easydel.models.decoder import COMPILER_OPTIONS
from oracles.tiny import ONE_DEVICE

hidden_states = jax.jit(
    lambda decoder, *arguments: decoder(*arguments)[0], static_argnums=0, compiler_options=COMPILER_OPTIONS
)


def load(folder: str | Path, **options: Any) -> CausalLM:
    """Returns the model in a folder, in float32 unless told otherwise."""
    return AutoEasyDeLModelForCausalLM.from_pretrained(
        folder, **{"dtype": "float32", "sharding_axis_dims": ONE_DEVICE} | options
    )
