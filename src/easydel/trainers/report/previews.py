"""Prepared pairs as a report shows them: chosen and rejected beside one another, every token with what became of it."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from easydel.display.columns import read_and_ignored
from easydel.display.pairs import Piece, completion_pieces, prompt_pieces, tokens_of, visible

_NEWLINE = "\u21b5\n"
_PARTS = ("prompt", "chosen", "rejected")
_NEUTRAL = {"weight": 1, "margin": 0}


class PreviewPart(NamedTuple):
    """A part of a pair: its name, with how many tokens it has, and its text."""

    title: str
    pieces: list[Piece]


class PairPreview(NamedTuple):
    """A pair: which row it is and how much it counts, why it is shown, its prompt if it is one, its completions."""

    title: str
    reasons: str
    prompt: PreviewPart | None
    completions: list[PreviewPart]


def previews_of(words: str, counts: Mapping[str, Any]) -> list[PairPreview]:
    """Returns the pairs that are shown of a dataset, by its entry in `data.json`."""
    return [_preview(words, preview) for preview in counts["previews"]]


def columns_of(counts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Returns the columns that a dataset was read from, and those that were ignored, where there are any."""
    named = zip(("columns", "columns ignored"), read_and_ignored(counts), strict=True)
    return [(label, names) for label, names in named if names]


def _preview(words: str, preview: Mapping[str, Any]) -> PairPreview:
    numbers = "".join(f", {name} {preview[name]:g}" for name, same in _NEUTRAL.items() if preview[name] != same)
    completions = [_part(name, preview[name], completion_pieces(preview[name])) for name in _PARTS[1:]]
    prompt = _part("prompt", preview["prompt"], prompt_pieces(preview["prompt"])) if preview["prompt"] else None
    return PairPreview(
        f"{words}, row {preview['row']:,}{numbers}", ", ".join(map(str, preview["reasons"])), prompt, completions
    )


def _part(name: str, segments: list[Mapping[str, Any]], pieces: list[Piece]) -> PreviewPart:
    lines = [Piece(style, visible(text, _NEWLINE)) for style, text in pieces]
    tokens = tokens_of(segments)
    return PreviewPart(f"{name}, {tokens:,} token{'s' * (tokens != 1)}", lines)
