"""Losses without a reference: AlphaPO at its limit is SimPO."""

import numpy as np
import pytest

from oracles.losses import POLICY, REFERENCE, bound, pairs

pytestmark = pytest.mark.quick


def test_alphapo_without_its_power_is_simpo():
    arguments = pairs(POLICY, REFERENCE)
    near = bound("alphapo", alphapo_alpha=1e-5)(*arguments)
    np.testing.assert_allclose(bound("alphapo", alphapo_alpha=0.0)(*arguments), bound("simpo")(*arguments))
    np.testing.assert_allclose(near, bound("simpo")(*arguments), rtol=1e-3)
