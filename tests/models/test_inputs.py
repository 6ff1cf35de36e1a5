"""What a model may be called with."""

import numpy as np
import pytest

from easydel.errors import ConfigError
from oracles.loaded import load


@pytest.mark.parametrize(
    ("ids", "mask", "message"),
    [
        ([[1, 48]], None, "vocabulary has 0 to 47"),
        ([[-1, 3]], None, "vocabulary has 0 to 47"),
        ([1, 2], None, "must be integers"),
        ([[0.5]], None, "must be integers"),
        ([[1, 2]], [[1]], "attention_mask has shape"),
    ],
)
def test_calling_with_unusable_input_says_why(folder, ids, mask, message):
    with pytest.raises(ConfigError, match=message):
        load(folder)(np.array(ids), mask)
