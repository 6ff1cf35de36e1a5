from decimal import Decimal

import numpy as np
import pytest

from easydel.data.row_weights import numbers_of, without_text
from easydel.errors import DataError


@pytest.mark.parametrize("row", [{}, {"weight": None, "margin": None}, {"weight": "", "margin": " "}])
def test_absent_none_and_the_empty_field_of_a_csv_file_count_one_and_ask_for_no_margin(row):
    assert numbers_of(row, 0) == (1.0, 0.0)


@pytest.mark.parametrize("given", [0.5, np.float32(0.5), np.float64(0.5), "0.5", " 5e-1 "])
def test_numbers_of_python_and_numpy_and_their_text_are_read(given):
    found = numbers_of({"weight": given, "margin": given}, 0)
    assert found == (0.5, 0.5)
    assert {*map(type, found)} == {float}


def test_a_weight_may_be_0_and_a_margin_negative():
    assert numbers_of({"weight": 0, "margin": -3}, 0) == (0.0, -3.0)
    assert numbers_of({"weight": Decimal("0.25")}, 0) == (0.25, 0.0)  # as Parquet may hold it


def test_numbers_are_read_under_the_names_that_columns_gives_them_and_kept_without_the_text():
    row, columns = {"w": 2, "margin": 3, "prompt": "a"}, {"weight": "w", "ignore": ["margin"]}
    assert numbers_of(row, 0, columns) == (2.0, 0.0)
    assert without_text(row, columns) == {"w": 2}
    assert without_text(row) == {"margin": 3}
    assert numbers_of(without_text(row, columns), 0, columns) == numbers_of(row, 0, columns)


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (float("nan"), r"nan \(float\)"),
        (float("inf"), r"inf \(float\)"),
        (1e39, r"1e\+39 \(float\)"),  # more than a batch, in float32, can hold
        (10**400, r"10000.* \(int\)"),
        ("nan", "'nan'"),
        ("much", "'much'"),
        (True, r"True \(bool\)"),
        ([1.0], "a list of float"),
        (np.array([1.0]), r"array\(\[1.\]\) \(ndarray\)"),
    ],
)
def test_what_is_not_a_finite_number_names_the_row_the_field_and_the_value(given, shown):
    with pytest.raises(DataError, match=f"row 7: 'margin' is {shown}; it must be a finite number, or None for 0.0"):
        numbers_of({"margin": given}, 7)
    with pytest.raises(
        DataError, match=f"row 7: 'weight' is {shown}; it must be a finite number of at least 0, or None"
    ):
        numbers_of({"weight": given}, 7)


def test_a_negative_weight_is_an_error():
    with pytest.raises(DataError, match=r"row 7: 'weight' is -0.1 \(float\); it must be a finite number of at least 0"):
        numbers_of({"weight": -0.1}, 7)
