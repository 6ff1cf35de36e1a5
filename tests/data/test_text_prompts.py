"""Where the prompt ends in completions that begin with it."""

import pytest

from easydel.data.text_prompts import is_asking, is_beginning, is_prompt_alone, once, shared_beginning


def test_shared_beginning_leaves_something_of_both():
    assert shared_beginning("a b", "a c") == 1
    assert shared_beginning([1, 2], [1, 2]) == 1
    assert shared_beginning("x", "y") == 0


def test_nothing_is_left_of_a_completion_that_the_other_begins_with():
    assert is_beginning("Q: sky? A: ", "Q: sky? A: red")
    assert is_beginning("Q: sky? A: red", "Q: sky? A:")
    assert not is_beginning("same", "same")
    assert not is_beginning("blue", "red")


def test_a_completion_that_is_the_question_alone_is_told_from_a_greeting_given_back():
    assert is_prompt_alone("sky?", "sky?", "sky? red")
    assert is_prompt_alone("sky?", " sky? blue", "sky?\n")
    assert not is_prompt_alone("sky?", "blue", "sky?")  # only one of them begins with it
    assert not is_prompt_alone("Hi", "Hi", "Hi you")


@pytest.mark.parametrize(
    ("prompt", "chosen", "rejected", "expected"),
    [
        ("sky?", "sky? blue", "sky? red", ("sky?", " blue", " red")),
        ("hi", "hi you", "hi me", ("hi", " you", " me")),  # by the letter, a greeting too
        ("a sky?\n", "a sky? blue", "a  sky? red", ("a sky?", " blue", " red")),  # in other white space
        ("sky?", "sky? blue", "red", ("sky?", "sky? blue", "red")),  # only one repeats it
        ("hi ", "hi  you", "hi\nme", ("hi ", "hi  you", "hi\nme")),  # one may return a greeting
        ("sky?", "sky?", "sky?", ("sky?", "", "")),  # nothing is left of a question that is repeated
        ("the sky?", "the sky?s blue", "the sky? red", ("the sky?", "s blue", " red")),
        ("a  sky?", "a sky?s blue", "a sky? red", ("a  sky?", "a sky?s blue", "a sky? red")),  # ends inside a word
    ],
)
def test_a_prompt_that_both_completions_repeat_is_taken_off(prompt, chosen, rejected, expected):
    assert once(prompt, chosen, rejected) == expected


def test_questions_and_longer_texts_are_not_greetings():
    assert [is_asking(text) for text in ("sky? ", "Answer:", "one two three four five", "hi there", "")] == [
        *[True] * 3,
        *[False] * 2,
    ]
