"""What is shown of a dataset before it is trained on: which columns were read, and some pairs as they were prepared."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from easydel.data.counts import Counts, Tally
from easydel.data.held_out import HeldOut
from easydel.data.prepare import Recipe
from easydel.data.preview import BRIEF, Preview, preview_of
from easydel.data.used_columns import Columns
from easydel.display.columns import read_and_ignored
from easydel.display.pairs import Piece, on_one_line, prompt_pieces, side_pieces, tokens_of, visible
from easydel.trainers.run_folder import write_json

_NEUTRAL = {"weight": 1.0, "margin": 0.0}


class Shown(NamedTuple):
    """What became of the rows of a dataset, and some of the pairs made of them."""

    counts: Counts
    columns: Columns
    previews: list[Preview]  # the first pair, and the first in which something was changed, by what
    brief: Preview | None  # of the first pair, as long as a terminal has room for
    most: int | None = None  # the first so many rows of each dataset were taken, by `max_samples`
    held_out: HeldOut | None = None  # which of the training rows they are, if they are

    def values(self) -> dict[str, Any]:
        """Returns the entry of a dataset in `data.json`."""
        taken = {} if self.most is None else {"max_samples": self.most}
        held_out = {} if self.held_out is None else {"held_out": self.held_out._asdict()}
        return self.counts.values() | {
            "columns": self.columns._asdict(),
            "previews": [preview.values() for preview in self.previews],
            **taken,
            **held_out,
        }

    def lines(self, title: str, *, streamed: bool = False) -> list[tuple[str, list[Piece]]]:
        """Returns lines for people, labels and texts, about a dataset that is called `title`."""
        read, ignored = read_and_ignored(self.values())
        first = "the first rows of a stream: " if streamed else ""
        return [
            (f"rows, {title}", [Piece("text", first + visible(self.counts.summary()))]),
            *([] if self.most is None else [("  taken", [Piece("text", _most(self.most))])]),
            *([] if self.held_out is None else [("  held out", [Piece("text", self.held_out.words)])]),
            ("  columns", [Piece("text", read + (f"; ignored: {ignored}" if ignored else ""))]),
            *([] if self.brief is None else _pair(self.brief)),
        ]


def shown_of(tally: Tally, recipe: Recipe, *, most: int | None = None, held_out: HeldOut | None = None) -> Shown:
    """Returns what is shown of the rows that were counted."""
    examples = tally.examples.found()
    previews = [preview_of(each, recipe.limits, recipe.tokenizer) for each in examples]
    brief = preview_of(examples[0], recipe.limits, recipe.tokenizer, BRIEF) if examples else None
    return Shown(tally.counts(), tally.columns.found(), previews, brief, most, held_out)


def write_data(folder: Path, datasets: Mapping[str, Shown]) -> None:
    """Writes `data.json`: what became of the rows of each dataset, how long its pairs are, and what some look like."""
    write_json(folder / "data.json", {name: shown.values() for name, shown in datasets.items()})


def _most(rows: int) -> str:
    return f"at most {rows} row{'s' * (rows > 1)} of each dataset, the first (max_samples)"


def _pair(preview: Preview) -> list[tuple[str, list[Piece]]]:
    values = preview.values()
    prompt, sides = values["prompt"], {name: values[name] for name in ("chosen", "rejected")}
    numbers = [f", {name} {values[name]:g}" for name, neutral in _NEUTRAL.items() if values[name] != neutral]
    lengths = ", ".join(f"{tokens_of(part)} {name}" for name, part in ({"prompt": prompt} | sides).items() if part)
    return [
        (f"  row {preview.row}", [Piece("text", f"tokens: {lengths}{''.join(numbers)}")]),
        *([("  prompt", on_one_line(prompt_pieces(prompt)))] if prompt else []),
        *((f"  {name}", on_one_line(side_pieces(part))) for name, part in sides.items()),
    ]
