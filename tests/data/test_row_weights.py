from decimal import Decimal

import numpy as np
import pytest

from easydel.data.pair import NEUTRAL
from easydel.data.row_weights import numbers_of, without_text
from easydel.errors import DataError

EMPTY = ({}, *(dict.fromkeys(("weight", "margin", "preference"), value) for value in (None, "", " ")))


@pytest.mark.parametrize("row", EMPTY)
def test_absent_none_and_the_empty_field_of_a_csv_file_change_nothing(row):
    assert numbers_of(row, 0) == NEUTRAL == (1.0, 0.0, 1.0, 0.0)


@pytest.mark.parametrize("given", [0.5, np.float32(0.5), np.float64(0.5), "0.5", " 5e-1 "])
def test_numbers_of_python_and_numpy_and_their_text_are_read(given):
    row = dict.fromkeys(("weight", "margin", "preference", "chosen_score"), given)
    found = numbers_of(row | {"rejected_score": 2}, 0, scored=True)
    assert found == (0.5, 0.5, 0.5, -1.5)
    assert {*map(type, found)} == {float}


def test_a_weight_may_be_0_and_a_margin_negative():
    assert numbers_of({"weight": 0, "margin": -3}, 0)[:2] == (0.0, -3.0)
    assert numbers_of({"weight": Decimal("0.25")}, 0)[:2] == (0.25, 0.0)  # as Parquet may hold it


def test_numbers_are_read_under_the_names_that_columns_gives_them_and_kept_without_the_text():
    row, columns = {"w": 2, "margin": 3, "prompt": "a"}, {"weight": "w", "ignore": ["margin"]}
    assert numbers_of(row, 0, columns)[:2] == (2.0, 0.0)
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


@pytest.mark.parametrize("given", [-0.01, 1.01, "chosen", float("nan")])
def test_a_preference_is_a_share(given):
    with pytest.raises(DataError, match=r"row 7: 'preference' is .*; it must be a number between 0 and 1, or None for"):
        numbers_of({"preference": given}, 7)


def test_scores_are_read_where_a_loss_needs_them_and_then_must_be_there():
    row = {"chosen_score": "n/a", "rejected_score": None}
    assert numbers_of(row, 7).score_gap == 0
    with pytest.raises(DataError, match="row 7: 'chosen_score' is 'n/a'; it must be a finite number"):
        numbers_of(row, 7, scored=True)
    with pytest.raises(DataError, match=r"row 7 has no 'rejected_score', which .* needs: .* --columns"):
        numbers_of(row | {"chosen_score": 4}, 7, scored=True)
    columns = {"chosen_score": "best", "rejected_score": "worst"}
    assert numbers_of({"best": 8, "worst": 6.5}, 7, columns, scored=True).score_gap == 1.5


@pytest.mark.parametrize("verdict", [{"output_1": "a", "output_2": "b"}, {"answer_a": "a", "answer_b": "b"}])
def test_a_preference_that_says_which_of_two_is_better_is_no_share(verdict):
    row = {**verdict, "preference": 2}
    assert numbers_of(row, 0) == NEUTRAL
    assert without_text(row) == {}
    assert numbers_of({"chosen": "a", "rejected": "b", "preference": 0.5}, 0).preference == 0.5
