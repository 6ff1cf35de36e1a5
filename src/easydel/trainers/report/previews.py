"""Prepared pairs as a report shows them: the two sides beside one another, every token with what became of it."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from easydel.display.columns import read_and_ignored
from easydel.display.pairs import Piece, prompt_pieces, side_pieces, tokens_of, visible

_NEWLINE = "\u21b5\n"
_PARTS = ("prompt", "chosen", "rejected")
_NEUTRAL = {"weight": 1, "margin": 0}
_SEGMENT = {"kind": str, "tokens": int, "text": str | None, "special": bool}


class Side(NamedTuple):
    """A part of a pair: its name, with how many tokens it has, and its text."""

    title: str
    pieces: list[Piece]


class Shown(NamedTuple):
    """A pair: which row it is and how much it counts, why it is shown, its prompt if both sides have one, its sides."""

    title: str
    reasons: str
    prompt: Side | None
    sides: list[Side]


def previews_of(words: str, counts: Mapping[str, Any]) -> list[Shown]:
    """Returns the pairs that are shown of a dataset, by its entry in `data.json`."""
    return [_shown(words, preview) for preview in counts.get("previews", ())]


def columns_of(counts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Returns the columns that a dataset was read from, and those that were ignored, where there are any."""
    if "columns" not in counts:
        return []
    named = zip(("columns", "columns ignored"), read_and_ignored(counts), strict=True)
    return [(label, names) for label, names in named if names]


def are_previews(previews: Any) -> bool:
    """Returns whether a value is what `data.json` holds under `previews`."""
    return isinstance(previews, list) and all(
        isinstance(each, dict)
        and isinstance(each.get("row"), int)
        and isinstance(each.get("reasons"), list)
        and all(isinstance(each.get(name), int | float) for name in ("weight", "margin"))
        and all(_are_segments(each.get(part)) for part in _PARTS)
        for each in previews
    )


def are_columns(columns: Any) -> bool:
    """Returns whether a value is what `data.json` holds under `columns`."""
    parts = ("read", int), ("ignored", int), ("stands_for", str)
    return (
        isinstance(columns, dict)
        and isinstance(columns.get("rows"), int)
        and all(isinstance(columns.get(name), dict) for name, _ in parts)
        and all(isinstance(value, kind) for name, kind in parts for value in columns[name].values())
    )


def _are_segments(segments: Any) -> bool:
    return isinstance(segments, list) and all(
        isinstance(segment, dict) and all(isinstance(segment.get(name), kind) for name, kind in _SEGMENT.items())
        for segment in segments
    )


def _shown(words: str, preview: Mapping[str, Any]) -> Shown:
    numbers = "".join(f", {name} {preview[name]:g}" for name, same in _NEUTRAL.items() if preview[name] != same)
    sides = [_side(name, preview[name], side_pieces(preview[name])) for name in _PARTS[1:]]
    prompt = _side("prompt", preview["prompt"], prompt_pieces(preview["prompt"])) if preview["prompt"] else None
    return Shown(f"{words}, row {preview['row']:,}{numbers}", ", ".join(map(str, preview["reasons"])), prompt, sides)


def _side(name: str, segments: list[Mapping[str, Any]], pieces: list[Piece]) -> Side:
    lines = [Piece(style, visible(text, _NEWLINE)) for style, text in pieces]
    tokens = tokens_of(segments)
    return Side(f"{name}, {tokens:,} token{'s' * (tokens != 1)}", lines)
