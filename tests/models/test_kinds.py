"""The kinds of layers: settings of rotary scalings are fields of a rope, and each kind is computed."""

import jax.numpy as jnp
import numpy as np
import pytest

from easydel.models.kinds import ROPE_TYPES, Rope
from easydel.models.rope import rotary


@pytest.mark.parametrize("kind", ROPE_TYPES)
def test_each_kind_of_scaling_has_its_settings_and_is_computed(kind):
    assert set(ROPE_TYPES[kind]) <= set(Rope._fields)
    factors = {"short_factor": (1.0,) * 4, "long_factor": (2.0,) * 4} if kind == "longrope" else {}
    rope = Rope(8, kind, factor=2.0, original_max_position_embeddings=8, **factors)
    position = jnp.arange(12)[None]
    cos, sin = rotary(rope, position, jnp.ones_like(position))
    assert cos.shape == sin.shape == (1, 12, 4)
    plain, _ = rotary(Rope(8), position, jnp.ones_like(position))
    assert np.allclose(cos, plain) == (kind == "default")
