"""The tokens of a pair on one line, whatever they hold."""

import sys

import pytest

from easydel.display.pairs import completion_pieces, plain, prompt_pieces, tokens_of, visible


def segment(kind: str, text: str | None, tokens: int = 1, *, special: bool = False) -> dict:
    return {"kind": kind, "tokens": tokens, "text": text, "special": special}


def test_every_kind_of_token_is_marked_without_colors():
    prompt = [segment("cut", None, 90), segment("cut", " end", 3), segment("prompt", "<s>", special=True)]
    prompt += [segment("prompt", "Is it", 2), segment("prompt", None, 1200), segment("prompt", " so?", 2)]
    assert plain(prompt_pieces(prompt)) == "[cut, 93 tokens: … end]«<s>»Is it[… 1,200 tokens …] so?|"
    side = [segment("trained", "Yes."), segment("untrained", "\nuser:", 2), segment("untrained", "</s>", special=True)]
    side += [segment("trained", "No."), segment("cut", "more", 1), segment("cut", None, 4)]
    assert plain(completion_pieces(side)) == "|Yes.[no loss: ↵user:«</s>»]No.[cut, 5 tokens: more…]"
    assert (tokens_of(prompt), tokens_of(side)) == (1205, 5)


def test_a_prompt_that_both_sides_have_of_their_own_is_no_line():
    assert prompt_pieces([]) == []
    assert plain(completion_pieces([segment("prompt", "so?"), segment("untrained", "x"), segment("trained", "y")])) == (
        "so?|[no loss: x]y"
    )


def test_turns_that_are_left_out_are_counted_together():
    hidden = [segment("trained", None, 5), segment("untrained", None, 7), segment("trained", None, 1)]
    assert plain(completion_pieces([segment("trained", "a"), *hidden, segment("trained", "b")])) == "|a[… 13 tokens …]b"


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("a\x1b[31mred\x07\r\n", "a\\x1b[31mred\\x07\\r↵"),
        ("\u202eleft\u2066\ufeff\u200b", "\\u202eleft\\u2066\\ufeff\\u200b"),
        ("half \ud83d and \udc80", "half \\ud83d and \\udc80"),
        ("\u2028\x85\x9b\xa0", "\\u2028\\x85\\x9b\\xa0"),
        ("né 狐　🦊 👩‍🚀 \\n", "né 狐　🦊 👩‍🚀 \\n"),
    ],
)
def test_what_moves_a_cursor_or_turns_a_line_around_is_written_out(text, seen):
    assert visible(text) == seen
    seen.encode()


def test_no_text_whatever_holds_a_sign_that_a_terminal_obeys():
    controls = {chr(number) for number in [*range(32), *range(0x7F, 0xA0)]}
    for at in range(0, sys.maxunicode + 1, 4096):
        seen = visible("".join(map(chr, range(at, min(at + 4096, sys.maxunicode + 1)))))
        assert not controls & set(seen)
        seen.encode()
