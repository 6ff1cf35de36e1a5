"""The table of compiled programs: its rows, its words, and a small program for each kind of device."""

import pytest

from benchmarks.compiled import __main__ as compiled
from benchmarks.compiled.devices import DEVICES
from benchmarks.compiled.row import Row

ROW = Row("it", "memory, GB", "H200", 3.0, 2.0, lambda devices, small: 1.5)


@pytest.mark.parametrize(("figure", "met", "word"), [(1.234, True, "yes"), (2.0, True, "yes"), (2.5, False, "no")])
def test_a_figure_meets_its_target_up_to_it(figure, met, word):
    assert compiled.is_met(ROW, figure) is met
    assert compiled.line(ROW, figure) == ["it", "memory, GB", "H200", "3", f"{figure:.3g}", "2", word]


def test_a_row_without_a_target_is_neither_met_nor_missed():
    row = ROW._replace(before=None, target=None)
    assert compiled.is_met(row, 9.0) is None
    assert compiled.line(row, 9.0)[3:] == ["-", "9", "-", ""]


def test_every_row_has_a_name_of_its_own_and_a_device_that_is_described():
    rows = [row for file in compiled.FILES for row in file.ROWS]
    assert len(compiled.ROWS) == len(rows)
    assert {row.device for row in rows} <= DEVICES.keys()


def test_an_unknown_row_is_refused_with_those_that_there_are(capsys):
    with pytest.raises(SystemExit):
        compiled.parse(["--rows", "half"])
    assert "unknown: half; there are all-trained-H200, half-frozen-H200" in capsys.readouterr().err


@pytest.mark.accelerators
def test_frozen_layers_take_less_memory_than_trained_ones():
    half, every = (compiled.measured(f"{name}-H200", small=True) for name in ("half-frozen", "all-trained"))
    assert 0 < half < every


@pytest.mark.accelerators
def test_attention_is_computed_twice_where_the_layer_is_computed_again():
    assert compiled.measured("passes-H200", small=True) == 2


@pytest.mark.accelerators
def test_attention_of_a_short_row_takes_less_memory_than_a_mask_of_it():
    assert compiled.measured("row-of-16384-v5e", small=True) < 0.05
