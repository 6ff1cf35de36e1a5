"""The longest part of one text in another, against looking for each."""

from hypothesis import given
from hypothesis import strategies as st

from easydel.data.span_search import before_special_token, common_length, end_in

TEXTS = st.text("ab<", max_size=12)


@given(TEXTS, TEXTS, st.integers(0, 12))
def test_the_common_length_is_that_of_the_longest_beginning(text, whole, start):
    expected = max(length for length in range(len(text) + 1) if whole[start:].startswith(text[:length]))
    assert common_length(text, whole, min(start, len(whole))) == expected


@given(TEXTS, TEXTS, st.booleans())
def test_the_longest_end_is_found_where_it_stands_first_or_last(text, whole, last):
    length = max(length for length in range(len(text) + 1) if text[len(text) - length :] in whole)
    end = text[len(text) - length :]
    place = (whole.rfind if last else whole.find)(end) + length
    assert end_in(text, whole, "a", last=last) == (place if "a" in end else None)


def test_a_special_token_is_not_cut():
    for end in range(3, 13):
        assert before_special_token("Hi <|im_end|> you", end) == 3
    assert before_special_token("Hi <|im_end|> you", 13) == 13
    assert before_special_token("a < b", 5) == 5
