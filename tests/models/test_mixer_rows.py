"""The tensors of mixers: those of the layers that have them, whole."""

import numpy as np
import pytest

from easydel.models.config import ModelConfig
from easydel.models.mixer_rows import mixer_rows, mixer_sizes
from easydel.models.rows import axis_sizes
from oracles.cases import CASES


@pytest.mark.parametrize("name", ["lfm2", "lfm2-biases", "qwen3-5", "llama"])
def test_each_mixer_has_its_rows_in_its_own_layers_alone(name):
    config = ModelConfig.from_hf(CASES[name])
    rows = mixer_rows(config)
    assert bool(rows) == bool(mixer_sizes(config)) == (name != "llama")
    for row in rows:
        assert row.layers == tuple(at for at, layer in enumerate(config.layers) if layer.mixer == row.path[1])
        assert row.path[0] == "layers"


def test_taps_come_out_of_a_tensor_of_three_axes_and_go_back():
    config = ModelConfig.from_hf(CASES["lfm2"])
    [row] = [row for row in mixer_rows(config) if row.path[-1] == "taps"]
    sizes = axis_sizes(config)
    tensor = np.arange(32 * 3, dtype=np.float32).reshape(32, 1, 3)
    ours = row.from_file(tensor, sizes)
    assert row.file_shape(sizes) == (32, 1, 3)
    np.testing.assert_array_equal(ours, tensor[:, 0].T)
    np.testing.assert_array_equal(row.to_file(ours, sizes), tensor)
