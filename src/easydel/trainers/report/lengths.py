"""How long prompts and completions are, as bars."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from easydel.trainers.report.chart import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Drawing, Shape, Tick, placer
from easydel.trainers.report.scale import number, ticks

_COLORS = {"prompt": 6, "chosen": 0, "rejected": 1}


class Bars(NamedTuple):
    """A panel of bars."""

    title: str
    note: str
    drawing: Drawing


def lengths_of(words: str, counts: Mapping[str, Any]) -> list[Bars]:
    """Returns how long the prompts of a dataset are, and its completions, by its entry in `data.json`."""
    found = counts["lengths"]
    kinds = (("Prompts", ["prompt"]), ("Completions", ["chosen", "rejected"]))
    return [_panel(f"{kind}, {words}", {part: found[part] for part in parts}) for kind, parts in kinds if found]


def _panel(words: str, parts: Mapping[str, Mapping[str, Any]]) -> Bars:
    note = "; ".join(
        f"{part}: mean {number(each['mean'])}, median {each['median']:,}, longest {each['longest']:,}"
        for part, each in parts.items()
    )
    width = next(iter(parts.values()))["width"]
    drawing = draw_bars(
        [(part, each["counts"]) for part, each in parts.items()],
        width=width,
        colors=[_COLORS[part] for part in parts],
    )
    return Bars(words, note, drawing._replace(words=f"Number of pairs by length in tokens. {note}."))


def draw_bars(parts: Sequence[tuple[str, Sequence[int]]], *, width: int, colors: Sequence[int]) -> Drawing:
    """Returns the drawing of counts in bars beside one another, `parts` being pairs of a label and its counts.

    Args:
        width: values that a bar stands for: bar `i` is of `[i * width, (i + 1) * width)`.
        colors: one for each part.
    """
    bars = max(len(counts) for _, counts in parts)
    up = ticks(0, max(max(counts) for _, counts in parts), 4, whole=True)
    place_x, place_y = placer(0, bars, LEFT, WIDTH - RIGHT), placer(up[0], up[-1], HEIGHT - BOTTOM, TOP)
    thick = (WIDTH - RIGHT - LEFT) / bars * 0.86 / len(parts)
    spans = [f"{at * width:,} to {(at + 1) * width - 1:,}" if width > 1 else f"{at:,}" for at in range(bars)]
    shapes = []
    for number_, (label, counts) in enumerate(parts):
        tops = [place_y(count) for count in counts]
        left = [place_x(at + 0.07) + number_ * thick for at in range(len(counts))]
        boxes = (
            f"M{x:.1f} {HEIGHT - BOTTOM}V{y:g}h{thick:.1f}V{HEIGHT - BOTTOM}z"
            for x, y, count in zip(left, tops, counts, strict=True)
            if count
        )
        at = [f"{span} tokens" for span in spans[: len(counts)]]
        x = [place_x(each + 0.5) for each in range(len(counts))]
        shapes.append(Shape(label, colors[number_], False, "".join(boxes), at, x, tops, [f"{n:,}" for n in counts]))
    return Drawing(
        shapes=shapes,
        x_ticks=[
            Tick(place_x(each / width), f"{each:,.0f}")
            for each in ticks(0, bars * width, 5, whole=True)
            if each <= bars * width
        ],
        y_ticks=[Tick(place_y(each), f"{each:,.0f}") for each in up],
        zero=None,
        words="",
        table=[
            [span, *(f"{counts[at] if at < len(counts) else 0:,}" for _, counts in parts)]
            for at, span in enumerate(spans)
        ],
        across="tokens",
        filled=True,
    )
