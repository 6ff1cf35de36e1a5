"""The tokens of a prepared pair as marked text, for a terminal and for a page.

A part of a pair, its prompt or a completion, is a list of segments as `data.json` has them: the kind of neighboring
tokens (`prompt`, `trained`, `untrained`, `cut`), their number, their text or None where they are hidden, and whether
they are one special token.
"""

import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Literal, NamedTuple

Style = Literal["text", "special", "untrained", "cut", "hidden", "border"]
Segment = Mapping[str, Any]

_SYMBOLS = {"\n": "\u21b5", "\t": "\u21e5"}
_UNCHANGED = "\u200c\u200d\u3000"  # within words and emoji, and between words of Chinese


class Piece(NamedTuple):
    """Some text, and what it is."""

    style: Style
    text: str


def visible(text: str, newline: str = "\u21b5") -> str:
    """Returns text with everything in it visible: characters that move the cursor or turn lines around are escaped.

    >>> print(visible("a\\tb\\n\\x1b[2J\\u202e\\ud800"))
    a⇥b↵\\x1b[2J\\u202e\\ud800
    """
    return "".join(newline if each == "\n" else _visible(each) for each in text)


def _visible(character: str) -> str:
    if character.isprintable() or character in _UNCHANGED or unicodedata.category(character) == "Co":
        return character
    return _SYMBOLS.get(character) or character.encode("unicode_escape").decode("ascii")


def prompt_pieces(segments: Sequence[Segment]) -> list[Piece]:
    """Returns a prompt as marked text, up to the border with a completion; [] where each completion has its own."""
    return [*_pieces(segments), Piece("border", "|")] if segments else []


def completion_pieces(segments: Sequence[Segment]) -> list[Piece]:
    """Returns a completion as marked text, from the border with its prompt on, or with the prompt that it begins with.

    >>> cut = {"kind": "cut", "tokens": 9, "text": "once", "special": False}
    >>> context = {"kind": "prompt", "tokens": 1, "text": " more", "special": False}
    >>> end = {"kind": "trained", "tokens": 1, "text": "</s>", "special": True}
    >>> plain(completion_pieces([cut, context, end]))
    '[cut, 9 tokens: once] more|«</s>»'
    """
    bears = [at for at, segment in enumerate(segments) if segment["kind"] in ("trained", "untrained")]
    border = bears[0] if bears else len(segments)
    return [*_pieces(segments[:border]), Piece("border", "|"), *_pieces(segments[border:])]


def plain(pieces: Iterable[Piece]) -> str:
    """Returns marked text on one line, without colors or anything that moves a cursor."""
    return "".join(piece.text for piece in on_one_line(pieces))


def on_one_line(pieces: Iterable[Piece]) -> list[Piece]:
    """Returns marked text without anything that moves a cursor."""
    return [Piece(style, visible(text)) for style, text in pieces]


def below_one_another(lines: Sequence[tuple[str, Sequence[Piece]]]) -> list[Piece]:
    """Returns lines of marked text, each behind its label.

    >>> plain(below_one_another([("steps", [Piece("text", "75")]), ("a longer one", [])]))
    'steps         75↵a longer one  '
    """
    wide = max(12, *(len(label) + 2 for label, _ in lines))
    return [
        piece
        for at, (label, pieces) in enumerate(lines)
        for piece in (Piece("text", "\n" * (at > 0) + f"{label:<{wide}}"), *pieces)
    ]


def tokens_of(segments: Iterable[Segment]) -> int:
    """Returns the number of tokens of a part that are not cut."""
    return sum(segment["tokens"] for segment in segments if segment["kind"] != "cut")


def _pieces(segments: Sequence[Segment]) -> Iterator[Piece]:
    for hidden, several in groupby(segments, lambda segment: segment["text"] is None and segment["kind"] != "cut"):
        if hidden:
            yield Piece("hidden", f"[\u2026 {_counted(several)} \u2026]")
            continue
        for kind, members in groupby(several, lambda segment: segment["kind"]):
            yield from _of_kind(kind, list(members))


def _of_kind(kind: str, segments: Sequence[Segment]) -> Iterator[Piece]:
    style: Style = kind if kind in ("untrained", "cut") else "text"
    if style == "untrained":
        yield Piece(style, "[no loss: ")
    if style == "cut":
        yield Piece(style, f"[cut, {_counted(segments)}: ")
    for segment in segments:
        if segment["text"] is None:
            yield Piece(style, "\u2026")
        elif segment["special"]:
            yield Piece("special" if style == "text" else style, f"\u00ab{segment['text']}\u00bb")
        else:
            yield Piece(style, segment["text"])
    if style != "text":
        yield Piece(style, "]")


def _counted(segments: Iterable[Segment]) -> str:
    tokens = sum(segment["tokens"] for segment in segments)
    return f"{tokens:,} token{'s' * (tokens != 1)}"
