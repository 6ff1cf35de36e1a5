"""Which tokens of a templated text bear loss, worked out by hand."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import ByT5Tokenizer

from easydel import quickstart
from easydel.data.render import Preference
from easydel.data.token_cache import from_arrays, to_arrays
from easydel.data.token_mask import encode_masked, trained_tokens
from easydel.data.tokenize import Joined, tokenize
from oracles.tokenizers import EOS, ids, tiny_tokenizer

BEHIND = "u:hi</s>a:"  # what the completions below follow


def spans(text: str, *parts: str) -> tuple[tuple[int, int], ...]:
    """Where the parts are in a text, behind the prompt."""
    return tuple((start := text.index(part, len(BEHIND)), start + len(part)) for part in parts)


def preference(chosen: str, *untrained: str) -> Preference:
    text = BEHIND + chosen
    return Preference(BEHIND, text, f"{BEHIND}no</s>", True, chosen_untrained=spans(text, *untrained))


def test_tokens_of_untrained_characters_bear_no_loss():
    """A call, the result of a tool, and what the model makes of it; `ab` is one token."""
    said = preference("xab</s>t:zab</s>a:ok</s>", "t:zab</s>a:")
    [joined] = tokenize([said], tiny_tokenizer(bos=False))
    assert joined.chosen == [*ids("xab"), EOS, *ids("t:zab"), EOS, *ids("a:"), *ids("ok"), EOS]
    assert joined.chosen_trained == [True] * 3 + [False] * 7 + [True] * 3
    assert joined.rejected_trained is None


@pytest.mark.parametrize(
    ("text", "offsets", "untrained", "expected"),
    [
        ("ok.\nu:x", [(0, 2), (2, 4), (4, 7)], [(3, 7)], [True, True, False]),  # `.\n`: the full stop is the model's
        ("a: Hi", [(0, 1), (1, 2), (2, 5)], [(0, 3)], [False, False, True]),  # ` Hi`: H is the first that shows
        ("a:\n\nHi", [(0, 2), (2, 4), (4, 6)], [(0, 4)], [False, False, True]),  # white space alone
        ("a:  ", [(0, 2), (2, 4)], [(0, 3)], [False, False]),  # white space alone goes by where it begins
        ("éx", [(0, 1), (0, 1), (1, 2)], [(0, 1)], [False, False, True]),  # two bytes of one character
        ("xy", [(0, 1), (1, 1), (1, 2), (2, 2)], [(1, 2)], [True, False, False, True]),  # tokens of no characters
        ("abc", [(0, 1), (1, 2), (2, 3)], [(2, 3), (0, 1)], [False, True, False]),  # in any order
        ("abc", [(0, 1), (1, 2), (2, 3)], [(1, 99)], [True, False, False]),
    ],
)
def test_a_token_goes_by_its_first_character_that_is_no_white_space(text, offsets, untrained, expected):
    assert trained_tokens(text, offsets, untrained) == expected


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.text("ab \n\u3000", min_size=1, max_size=4), st.integers(1, 2)), min_size=1, max_size=8),
    st.lists(st.integers(0, 30), max_size=6),
)
def test_the_borders_of_any_parts_are_found_as_by_looking_at_each_token(pieces, borders):
    """A piece is one token, or two that stand for the same characters, as of one that is two bytes."""
    text, offsets = "", []
    for piece, times in pieces:
        offsets += [(len(text), len(text) + len(piece))] * times
        text += piece
    cuts = sorted(min(border, len(text)) for border in borders)
    parts = [(first, last) for first, last in zip(cuts[::2], cuts[1::2], strict=False) if first < last]
    shows = [next((at for at in range(*each) if not text[at].isspace()), each[0]) for each in offsets]
    expected = [not any(first <= at < last for first, last in parts) for at in shows]
    assert trained_tokens(text, offsets, parts) == expected


def test_a_token_across_the_border_is_the_side_of_its_first_character():
    """`ab` is one token: as the end of what the tool says and the first letter of the answer it bears no loss."""
    [joined] = tokenize([preference("xaby</s>", "xa")], tiny_tokenizer(bos=False))
    assert (joined.chosen, joined.chosen_trained) == ([*ids("xaby"), EOS], [False, False, True, True])


def test_masks_begin_where_completions_do_also_where_the_end_of_the_prompt_changes():
    """Prompt `xa` and answer `by` share the token `ab`, which is the first of the completion and begins before it."""
    said = Preference("xa", "xaby:z</s>", "xac</s>", True, chosen_untrained=((4, 6),))
    [joined] = tokenize([said], tiny_tokenizer(bos=False))
    assert joined.prompt == ids("x")
    assert (joined.chosen, joined.chosen_trained) == ([*ids("aby:z"), EOS], [True, True, False, False, True])
    assert joined.merged == 1


def test_rows_with_and_without_masks_come_back_in_their_order():
    masked, plain = preference("x</s>t:z", "t:z"), preference("y</s>")
    text = Preference("k", "kl", "km", templated=False)
    together = tokenize([masked, text, plain, masked], tiny_tokenizer())
    assert together == [tokenize([each], tiny_tokenizer())[0] for each in (masked, text, plain, masked)]
    assert [each.chosen_trained is None for each in together] == [False, True, True, False]


def test_a_mask_that_leaves_nothing_out_is_none():
    [joined] = tokenize([preference("x</s>")._replace(chosen_untrained=((0, 4),))], tiny_tokenizer(bos=False))
    assert joined.chosen_trained is None


def test_slow_tokenizers_mask_by_the_text_before_each_border():
    """Three bytes of padding, end and unknown come first: a byte has its value and three more."""
    tokenizer = ByT5Tokenizer()
    assert not tokenizer.is_fast
    text = "é: ok"
    [found], [trained] = encode_masked([text], [[(0, 3)]], tokenizer)
    assert found == [byte + 3 for byte in text.encode()]
    assert trained == [False] * 4 + [True] * 2


def test_the_way_of_slow_tokenizers_gives_the_masks_of_fast_ones():
    fast = quickstart_tokenizer()
    texts = ["User: Is it a bird?\nAssistant: Yes, it is.", "Assistant: Hi there.\nUser: Yes?\nAssistant: No."]
    parts = [[(0, 30)], [(0, 11), (20, 43)]]
    assert encode_masked(texts, parts, Slow(fast)) == encode_masked(texts, parts, fast)
    for border in range(1, len(texts[0])):
        one = [[(border, len(texts[0]))]]
        assert encode_masked(texts[:1], one, Slow(fast)) == encode_masked(texts[:1], one, fast), texts[0][:border]


def quickstart_tokenizer():
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(quickstart.model_folder()))


class Slow:
    """A tokenizer that cannot tell which characters a token stands for."""

    is_fast = False

    def __init__(self, tokenizer):
        self.decode, self._tokenizer = tokenizer.decode, tokenizer

    def __call__(self, texts, **options):
        assert "return_offsets_mapping" not in options
        return self._tokenizer(texts, **options)


def test_masks_and_causes_survive_as_arrays():
    rows = [
        Joined([1], [2, 3, 4], [5]),
        Joined([1], [2, 3, 4], [5, 6], 7, [True, False, True], None, ("a", "bc")),
        Joined([1, 2], [2] * 9, [5, 6], 0, None, [False, True], ()),
        Joined([1], [2], [3], lost=("thoughts \ud800",)),
    ]
    assert list(from_arrays(to_arrays(rows))) == rows
    assert list(from_arrays(to_arrays(rows[:1]))) == rows[:1]
    assert list(from_arrays(to_arrays([]))) == []
