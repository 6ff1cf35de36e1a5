"""The pattern of a weight row."""

import numpy as np
import pytest

from easydel.weights.table import Part, Row

SIZES = {"layers": 3, "heads": 2, "head_dim": 4, "embed": 5, "mlp": 6}


@pytest.mark.parametrize(
    ("pattern", "file_shape", "our_shape"),
    [
        ("(heads head_dim) embed -> embed heads head_dim", (8, 5), (5, 2, 4)),
        ("embed (heads head_dim) -> heads head_dim embed", (5, 8), (2, 4, 5)),
        ("mlp embed -> embed mlp", (6, 5), (5, 6)),
        ("(heads head_dim) -> heads head_dim", (8,), (2, 4)),
    ],
)
def test_a_pattern_splits_moves_and_is_undone(pattern, file_shape, our_shape):
    row = Row("w", ("w",), pattern)
    tensor = np.arange(np.prod(file_shape)).reshape(file_shape)
    ours = row.from_file(tensor, SIZES)
    assert (row.file_shape(SIZES), row.shape(SIZES), ours.shape) == (file_shape, our_shape, our_shape)
    back = row.to_file(ours, SIZES)
    assert back.flags.c_contiguous
    np.testing.assert_array_equal(back, tensor)


def test_heads_are_the_slow_part_of_a_joined_axis():
    row = Row("w", ("w",), "(heads head_dim) embed -> embed heads head_dim")
    tensor = np.arange(40).reshape(8, 5)
    assert row.from_file(tensor, SIZES)[2, 1, 3] == tensor[1 * 4 + 3, 2]


def test_a_row_per_layer_has_a_name_for_each_and_a_leading_axis():
    row = Row("layers.{layer}.w", ("layers", "w"), "mlp -> mlp")
    assert row.names(SIZES) == ["layers.0.w", "layers.1.w", "layers.2.w"]
    assert (row.axes, row.shape(SIZES)) == (("layers", "mlp"), (3, 6))


def test_parts_of_a_tensor_lie_one_after_another_and_make_it_again():
    groups = ("heads head_dim", "embed", "embed")
    patterns = ("(heads head_dim) mlp -> mlp heads head_dim", "embed mlp -> mlp embed", "embed mlp -> mlp embed")
    rows = [Row("w", (str(i),), pattern, part=Part(i, groups)) for i, pattern in enumerate(patterns)]
    tensor = np.arange(18 * 6).reshape(18, 6)
    parts = [row.from_file(tensor, SIZES) for row in rows]
    assert [part.shape for part in parts] == [row.shape(SIZES) for row in rows] == [(6, 2, 4), (6, 5), (6, 5)]
    assert {row.file_shape(SIZES) for row in rows} == {(18, 6)}
    np.testing.assert_array_equal(parts[1], tensor[8:13].T)
    files = [row.to_file(part, SIZES) for row, part in zip(rows, parts, strict=True)]
    np.testing.assert_array_equal(np.concatenate(files), tensor)


def test_a_row_may_stand_for_some_layers_and_for_every_expert():
    row = Row("layers.{layer}.experts.{expert}.w", ("w",), "mlp embed -> embed mlp", layers=(0, 2))
    sizes = SIZES | {"experts": 2}
    assert row.names(sizes) == [f"layers.{layer}.experts.{expert}.w" for layer in (0, 2) for expert in (0, 1)]
    assert (row.axes, row.shape(sizes)) == (("layers", "experts", "embed", "mlp"), (2, 2, 5, 6))


def test_a_pattern_whose_sides_differ_is_refused():
    with pytest.raises(ValueError, match="do not name the same axes"):
        Row("w", ("w",), "(heads head_dim) -> heads").shape(SIZES)
