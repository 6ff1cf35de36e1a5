"""Advice names options, each with the figure that it follows from."""

import dataclasses

from easydel.data.column_names import NUMBERS
from easydel.inspect.advice import advice_of
from easydel.inspect.findings import Finding
from easydel.inspect.inspection import inspect_pairs
from easydel.trainers.config import DPOConfig
from oracles.planted import Words

LENGTH = Finding("shortcuts", "warning", "", {"name": "length", "rate": 0.8, "differ": 50, "source": ""})
OTHERS = [
    Finding("contradictions", "error", "", {"rows": 2}, {1: "", 2: ""}),
    Finding("many_for_a_prompt", "warning", "", {"most": 9}),
    Finding("unread_columns", "warning", "", {"column": "notes", "rows": 3}),
    Finding("cut_to_length", "warning", "", {"rows": 5, "of": 50, "needed": 700}),
]


def test_each_piece_of_advice_is_about_an_option_or_a_column():
    options = {field.name for field in dataclasses.fields(DPOConfig)} | set(NUMBERS)
    found = advice_of([LENGTH, *OTHERS], 50)
    assert [each.option for each in found] == [
        *("ld_alpha", "loss_type", "label_smoothing", "weight", "columns", "max_length")
    ]
    assert {each.option for each in found} <= options
    assert all(any(letter.isdigit() for letter in each.figure) for each in found)


def test_advice_follows_from_figures():
    smoothing = next(each for each in advice_of(OTHERS, 50) if each.option == "label_smoothing")
    assert smoothing.words.startswith("0.02 is the share of wrong labels")
    assert smoothing.figure == "2 of 50 pairs contradict each other"
    assert not advice_of(OTHERS[:1], 5000)
    shorter = LENGTH._replace(figures={**LENGTH.figures, "rate": 0.2})
    assert not advice_of([shorter], 50)
    assert "from web" in advice_of([LENGTH._replace(figures={**LENGTH.figures, "source": "web"})], 50)[0].figure


def test_pairs_in_which_the_longer_one_wins_bring_advice_on_lengths():
    words = Words(0)
    rows = [words.row(chosen=words.text(30, 60), rejected=words.text(5, 20)) for _ in range(60)]
    found = inspect_pairs([(row, "") for row in rows])
    assert [each.option for each in found.advice] == ["ld_alpha", "loss_type"]
    assert found.values()["advice"][0]["option"] == "ld_alpha"
