"""Marks of a completion."""

import pytest

from easydel.inspect.marks import MARKS, marks_of


@pytest.mark.parametrize(
    ("name", "has", "has_not"),
    [
        ("lists", "Two:\n- one\n- two", "3. is a number, and - is a dash"),
        ("lists", "1. one\n2. two", "- one point alone"),
        ("markdown", "# Title\ntext", "#hash tag"),
        ("markdown", "a **bold** word", "2 ** 3 ** 4"),
        ("markdown", "```python\nx\n```", "an `x`"),
        ("refusals", "I\u2019m sorry, but I can\u2019t help with that.", "You can't divide by zero."),
        ("refusals", "As an AI language model, I ...", "x" * 200 + "As an AI, I cannot"),
        ("refusals", "I cannot assist.", "The API can not fail; I can assist."),
        ("echoes", "What is the capital of Norway? It is Oslo.", "The capital of Norway is Oslo."),
    ],
)
def test_a_mark_is_found_and_what_looks_like_it_is_not(name, has, has_not):
    prompt = "What is the capital of  NORWAY?"
    assert MARKS[name].found(prompt, has)
    assert not MARKS[name].found(prompt, has_not)


def test_every_mark_is_a_bit():
    prompt = "Write the three laws of motion."
    text = f"{prompt}\n# Laws\n- one\n- two"
    assert marks_of(prompt, text) == sum(mark.found(prompt, text) << at for at, mark in enumerate(MARKS.values())) == 11
    assert marks_of(prompt, "plain") == 0
