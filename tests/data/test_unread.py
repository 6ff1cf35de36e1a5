import pytest

from easydel.data.column_names import RowColumns
from easydel.data.unread import beside, refuse_media, refuse_unread
from easydel.errors import DataError


def columns(row: dict, *read: str) -> RowColumns:
    have = RowColumns(row, {}, 3)
    have.take(*read)
    return have


def test_columns_that_hold_the_prompt_too_are_given_to_be_compared():
    have = columns({"prompt": "sky?", "question": "sea?", "source": "web"}, "prompt")
    assert list(beside(have, "prompt", "sky?")) == [("question", "sea?")]


@pytest.mark.parametrize(
    "beside_it",
    [
        {"source": "web"},  # changes nothing
        {"context": None},  # holds nothing
        {"context": " sky? "},  # repeats the prompt
        {"Context": ""},
    ],
)
def test_what_cannot_change_the_meaning_of_a_row_is_ignored(beside_it):
    assert not list(beside(columns({"prompt": "sky?", **beside_it}, "prompt"), "prompt", "sky?"))


@pytest.mark.parametrize("name", ["context", "Label", "sys-prompt", "rank"])
def test_what_could_change_the_meaning_of_a_row_is_refused(name):
    have = columns({"prompt": "sky?", name: "x"}, "prompt")
    message = rf"row 3: the column '{name}' could change the meaning .* not read here\. --columns ignore={name} leaves"
    with pytest.raises(DataError, match=message):
        list(beside(have, "prompt", "sky?"))
    with pytest.raises(DataError, match=rf"Is it the prompt\? --columns prompt={name}\."):
        list(beside(have, None, ""))


def test_the_second_of_two_verdicts_may_stand_beside_the_first():
    have = columns({"better_response_id": 1, "safer_response_id": 0}, "better_response_id")
    assert not list(beside(have, "prompt", ""))


@pytest.mark.parametrize(
    ("row", "refused"),
    [
        ({"Frage": "Which color?"}, True),
        ({"original_prompt": "Color"}, True),  # it says prompt, whatever stands before
        ({"topic": "colors"}, False),  # one word is a label
        ({"source_text": "Which color?"}, False),
        ({"prompt_id": "Which color?"}, False),
        ({"Frage": ""}, False),
    ],
)
def test_a_column_that_may_be_the_missing_prompt_is_refused(row, refused):
    have = columns({"chosen": "blue", **row}, "chosen")
    if not refused:
        refuse_unread(have)
        return
    with pytest.raises(DataError, match=rf"row 3 has no 'prompt', and '{next(iter(row))}' could be it: --columns"):
        refuse_unread(have)


def test_images_are_refused_and_empty_columns_of_them_are_not():
    refuse_media(columns({"images": [], "video": None}))
    with pytest.raises(DataError, match=r"row 3: 'images' holds a list .* only text can be trained on\. --columns ign"):
        refuse_media(columns({"images": [b"x"]}))
