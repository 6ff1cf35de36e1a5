"""A dataset in a few lines: rows kept and dropped, columns read and ignored, and some pairs as they were prepared."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from easydel.data.counts import Counts, Tally
from easydel.data.eval_split import EvalSplit
from easydel.data.pair import NEUTRAL
from easydel.data.prepare import TokenizeConfig
from easydel.data.preview import BRIEF, Preview, preview_of
from easydel.data.used_columns import Columns
from easydel.display.columns import read_and_ignored
from easydel.display.pairs import Piece, completion_pieces, on_one_line, prompt_pieces, tokens_of, visible
from easydel.trainers.record.files import write_json


class DatasetSummary(NamedTuple):
    """What became of the rows of a dataset, and some of the pairs made of them."""

    counts: Counts
    columns: Columns
    previews: list[Preview]  # the first pair, and the first in which something was changed, by what
    brief: Preview | None  # of the first pair, as long as a terminal has room for
    max_samples: int | None = None  # of each dataset the first rows were taken, at most this many
    eval_split: EvalSplit | None = None  # which of the training rows they are, if `test_split_size` took them there
    max_pairs: int | None = None  # that evaluation needs; the rows after these were not read

    def values(self) -> dict[str, Any]:
        """Returns the entry of a dataset in `data.json`."""
        limits = {"max_samples": self.max_samples, "max_pairs": self.max_pairs}
        taken = {name: limit for name, limit in limits.items() if limit is not None}
        eval_split = {} if self.eval_split is None else {"eval_split": self.eval_split._asdict()}
        return self.counts.values() | {
            "columns": self.columns._asdict(),
            "previews": [preview.values() for preview in self.previews],
            **taken,
            **eval_split,
        }

    def lines(self, title: str, *, streamed: bool = False) -> list[tuple[str, list[Piece]]]:
        """Returns lines for people, labels and texts, about a dataset that is called `title`."""
        read, ignored = read_and_ignored(self.values())
        first = "the first rows of a stream: " if streamed else ""
        return [
            (f"rows, {title}", [Piece("text", first + visible(self.counts.summary()))]),
            *([] if self.max_samples is None else [("  taken", [Piece("text", _taken(self.max_samples))])]),
            *([] if self.max_pairs is None else [("  read", [Piece("text", _read(self.max_pairs))])]),
            *([] if self.eval_split is None else [("  split off", [Piece("text", self.eval_split.summary)])]),
            ("  columns", [Piece("text", read + (f"; ignored: {ignored}" if ignored else ""))]),
            *([] if self.brief is None else _pair(self.brief)),
        ]


def summarize_dataset(
    tally: Tally,
    tokenizing: TokenizeConfig,
    *,
    max_samples: int | None = None,
    max_pairs: int | None = None,
    eval_split: EvalSplit | None = None,
) -> DatasetSummary:
    """Returns the summary of the rows that were counted, read with the settings of `tokenizing`."""
    examples = tally.examples.found()
    previews = [preview_of(each, tokenizing.limits, tokenizing.tokenizer) for each in examples]
    brief = preview_of(examples[0], tokenizing.limits, tokenizing.tokenizer, BRIEF) if examples else None
    return DatasetSummary(tally.counts(), tally.columns.found(), previews, brief, max_samples, eval_split, max_pairs)


def write_data(folder: Path, datasets: Mapping[str, DatasetSummary]) -> None:
    """Writes `data.json`: what became of the rows of each dataset, how long its pairs are, and what some look like."""
    write_json(folder / "data.json", {name: summary.values() for name, summary in datasets.items()})


def _taken(rows: int) -> str:
    return f"at most {rows} row{'s' * (rows > 1)} of each dataset, the first (max_samples)"


def _read(pairs: int) -> str:
    return f"as far as {pairs} pairs need, which is all that is evaluated on (max_evaluation_steps)"


def _pair(preview: Preview) -> list[tuple[str, list[Piece]]]:
    values = preview.values()
    prompt, completions = values["prompt"], {name: values[name] for name in ("chosen", "rejected")}
    numbers = [f", {name} {values[name]:g}" for name, neutral in NEUTRAL._asdict().items() if values[name] != neutral]
    lengths = ", ".join(
        f"{tokens_of(part)} {name}" for name, part in ({"prompt": prompt} | completions).items() if part
    )
    return [
        (f"  row {preview.row}", [Piece("text", f"tokens: {lengths}{''.join(numbers)}")]),
        *([("  prompt", on_one_line(prompt_pieces(prompt)))] if prompt else []),
        *((f"  {name}", on_one_line(completion_pieces(part))) for name, part in completions.items()),
    ]
