from decimal import Decimal

import numpy as np
import pytest

from easydel.data.columns import read_margin, read_weight
from easydel.data.given_ids import id_columns
from easydel.errors import DataError


@pytest.mark.parametrize("row", [{}, {"weight": None, "margin": None}, {"weight": "", "margin": " "}])
def test_absent_none_and_the_empty_field_of_a_csv_file_count_one_and_ask_for_no_margin(row):
    assert (read_weight(row, 0), read_margin(row, 0)) == (1.0, 0.0)


@pytest.mark.parametrize("given", [0.5, np.float32(0.5), np.float64(0.5), "0.5", " 5e-1 "])
def test_numbers_of_python_and_numpy_and_their_text_are_read(given):
    for read, name in ((read_weight, "weight"), (read_margin, "margin")):
        assert read({name: given}, 0) == 0.5
        assert type(read({name: given}, 0)) is float


def test_a_weight_may_be_0_and_a_margin_negative():
    assert read_weight({"weight": 0}, 0) == 0.0
    assert read_weight({"weight": Decimal("0.25")}, 0) == 0.25  # as Parquet may hold it
    assert read_margin({"margin": -3}, 0) == -3.0


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
def test_what_is_no_finite_number_names_the_row_the_field_and_the_value(given, shown):
    with pytest.raises(DataError, match=f"row 7: 'margin' is {shown}; it must be a finite number, or None for 0.0"):
        read_margin({"margin": given}, 7)
    with pytest.raises(
        DataError, match=f"row 7: 'weight' is {shown}; it must be a finite number of at least 0, or None"
    ):
        read_weight({"weight": given}, 7)


def test_a_negative_weight_is_an_error():
    with pytest.raises(DataError, match=r"row 7: 'weight' is -0.1 \(float\); it must be a finite number of at least 0"):
        read_weight({"weight": -0.1}, 7)


def test_columns_of_ids_that_hold_none_are_absent():
    assert id_columns({"prompt_ids": None, "chosen_ids": None, "rejected_ids": None, "prompt": "x"}) is None
    assert id_columns({"prompt_input_ids": [1]}) == ("prompt_input_ids", "chosen_input_ids", "rejected_input_ids")
