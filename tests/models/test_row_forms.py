"""The forms that rows of linear layers have."""

import numpy as np

from easydel.models.row_forms import fused, linear, matrix

SIZES = {"layers": 1, "embed": 4, "heads": 2, "head_dim": 3, "mlp": 5, "residual": 4}


def test_a_bias_on_the_residual_stream_is_not_split():
    down, bias = linear("mlp.down_proj", "down", "embed", "mlp", bias=True)
    assert (down.path, down.shape(SIZES)) == (("layers", "down", "kernel"), (1, 5, 4))
    assert (bias.axes, bias.start) == (("layers", "residual"), "zeros")


def test_what_is_fused_lies_side_by_side_within_a_part_of_a_layer():
    rows = fused("conv.in_proj", {"first": "(heads head_dim)", "second": "mlp"}, "embed", bias=True, at=("conv",))
    assert [row.path[1:] for row in rows] == [
        ("conv", "first", "kernel"),
        ("conv", "first", "bias"),
        ("conv", "second", "kernel"),
        ("conv", "second", "bias"),
    ]
    whole = np.arange(11 * 4).reshape(11, 4)
    np.testing.assert_array_equal(rows[2].from_file(whole, SIZES), whole[6:].T)
    np.testing.assert_array_equal(rows[3].from_file(np.arange(11), SIZES), np.arange(6, 11))


def test_inputs_come_first_in_our_arrays():
    assert matrix("(heads head_dim)", "embed") == "(heads head_dim) embed -> embed heads head_dim"
