"""What became of the rows of a dataset: counted as they are read, told in numbers, in words and in warnings."""

import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

from easydel.data.examples import Examples
from easydel.data.lengths import PARTS, Histogram, add_lengths, histograms
from easydel.data.lost import OF_EARLIER_TURNS
from easydel.data.pair import Cut, Pair
from easydel.data.tokenize import Joined
from easydel.data.used_columns import UsedColumns

_MERGED_UNSAID = 2  # tokens across the end of a prompt that many tokenizers join: in the summary, and no warning


class Counts(NamedTuple):
    """What became of the rows of a dataset."""

    rows: int
    kept: int
    truncated: dict[str, int]  # kept rows by the limit that cut them; a row may be cut by several
    dropped: dict[str, int]  # by cause
    merged: int  # rows where the prompt, tokenised alone, is not how the whole text begins
    identical: int  # kept rows whose chosen and rejected completions are the same tokens
    lengths: Mapping[str, Histogram] = MappingProxyType({})  # of prompt, chosen and rejected, as cut
    masked: int = 0  # tokens of completions that bear no loss, as the model did not write them
    lost: Mapping[str, int] = MappingProxyType({})  # rows by what the chat template left out of their messages
    most_merged: int = 0  # tokens at the end of a prompt, tokenised alone, that are others with a completion behind it
    most_merged_row: int = -1  # number of the row where they are the most
    weights: tuple[float, float] = (1.0, 1.0)  # the least and the greatest of the kept rows
    margins: tuple[float, float] = (0.0, 0.0)

    def values(self) -> dict[str, Any]:
        """Returns the counts as `data.json` has them."""
        return self._asdict() | {"lengths": {part: bars._asdict() for part, bars in self.lengths.items()}}

    def summary(self) -> str:
        """Returns the counts as a short paragraph.

        >>> Counts(3, 2, {"max_length": 1}, {"too long": 1}, 0, 0).summary()
        '2 of 3 rows kept. Dropped: 1 (too long). Truncated: 1 (max_length).'
        """
        parts = [f"{self.kept} of {self.rows} rows kept."]
        for title, causes in (("Dropped", self.dropped), ("Truncated", self.truncated)):
            if causes:
                parts.append(f"{title}: " + ", ".join(f"{count} ({cause})" for cause, count in causes.items()) + ".")
        if self.masked:
            parts.append(f"{self.masked} tokens of completions bear no loss.")
        if self.lost:
            causes = ", ".join(f"{cause} in {count}" for cause, count in self.lost.items())
            parts.append(f"Left out by the chat template: {causes}.")
        if self.merged:
            parts.append(
                f"In {self.merged} the end of the prompt changes when a completion follows it, by at most "
                f"{self.most_merged} token{'s' * (self.most_merged > 1)} (row {self.most_merged_row})."
            )
        if self.identical:
            parts.append(f"In {self.identical} chosen and rejected are the same and teach no preference.")
        return " ".join(parts)


@dataclass
class Tally:
    """What has become of the rows so far."""

    rows: int = 0
    kept: int = 0
    merged: int = 0
    most_merged: int = 0
    most_merged_row: int = -1  # number of the row
    most_merged_of: int = 0  # the tokens of its prompt
    truncated: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    identical: int = 0
    first_identical: int = -1  # number of the row
    lengths: dict[str, Counter[int]] = field(default_factory=lambda: {part: Counter() for part in PARTS})
    masked: int = 0
    lost: Counter[str] = field(default_factory=Counter)
    first_lost: dict[str, int] = field(default_factory=dict)  # number of the row by what was left out of it
    weights: tuple[float, float] | None = None  # the least and the greatest
    margins: tuple[float, float] | None = None
    examples: Examples = field(default_factory=Examples)
    columns: UsedColumns = field(default_factory=UsedColumns)

    def add(self, joined: Joined, cut: Cut, number: int) -> None:
        """Counts one more row, number `number`."""
        self.rows += 1
        self.merged += joined.merged > 0
        if joined.merged > self.most_merged:
            self.most_merged, self.most_merged_row = joined.merged, number
            self.most_merged_of = len(joined.prompt) + joined.merged
        for cause in dict.fromkeys(joined.lost):
            self.lost[cause] += 1
            self.first_lost.setdefault(cause, number)
        (self.dropped if cut.pair is None else self.truncated).update(cut.causes)
        if cut.pair is not None:
            self.kept += 1
            add_lengths(self.lengths, cut.pair)
            self.masked += _masked(cut.pair)
            self.weights = _widened(self.weights, cut.pair.weight)
            self.margins = _widened(self.margins, cut.pair.margin)
            self.examples.add(joined, cut.pair, cut.causes)
            if _identical(cut.pair):
                self.first_identical = self.first_identical if self.identical else cut.pair.index
                self.identical += 1

    def counts(self) -> Counts:
        """Returns the counts as they are now."""
        truncated, dropped = dict(self.truncated), dict(self.dropped)
        # Copies: the pairs of a stream are counted in another thread.
        lengths = histograms({part: seen.copy() for part, seen in self.lengths.items()})
        return Counts(
            self.rows,
            self.kept,
            truncated,
            dropped,
            self.merged,
            self.identical,
            lengths,
            masked=self.masked,
            lost=dict(self.lost),
            most_merged=self.most_merged,
            most_merged_row=self.most_merged_row,
            weights=self.weights or (1.0, 1.0),
            margins=self.margins or (0.0, 0.0),
        )


def warn_of(tally: Tally, *, stacklevel: int) -> None:
    """Warns of what is lost: messages, the ends of prompts, and preferences between sides that are the same tokens."""
    for cause, count in tally.lost.items():
        if cause != OF_EARLIER_TURNS:
            warnings.warn(
                f"in {count} of {tally.rows} rows the chat template leaves out {cause}; the first is row "
                f"{tally.first_lost[cause]}.",
                stacklevel=stacklevel,
            )
    if tally.most_merged > _MERGED_UNSAID:
        warnings.warn(
            f"in {tally.merged} of {tally.rows} rows the end of the prompt changes when a completion follows it; the "
            f"most in row {tally.most_merged_row}, where the last {tally.most_merged} of {tally.most_merged_of} tokens "
            "of the prompt are others then, and count as completion. A chat template that begins an answer in another "
            "way than it writes one does this, as does a prompt in text that does not end at the end of a word.",
            stacklevel=stacklevel,
        )
    if tally.identical:
        warnings.warn(
            f"in {tally.identical} of {tally.rows} rows chosen and rejected are the same and teach no preference; the "
            f"first is row {tally.first_identical}.",
            stacklevel=stacklevel,
        )


def _widened(known: tuple[float, float] | None, value: float) -> tuple[float, float]:
    return (value, value) if known is None else (min(known[0], value), max(known[1], value))


def _identical(pair: Pair) -> bool:
    return pair.chosen[pair.chosen_context :] == pair.rejected[pair.rejected_context :]


def _masked(pair: Pair) -> int:
    """How many tokens behind the context bear no loss."""
    sides = (pair.chosen_trained, pair.chosen_context), (pair.rejected_trained, pair.rejected_context)
    return sum(trained.count(False) - context for trained, context in sides if trained is not None)
