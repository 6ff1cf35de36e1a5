"""What became of the rows of a dataset: counted as they are read, reported as numbers, sentences and warnings."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from types import MappingProxyType
from typing import Any, NamedTuple

from easydel.data.bad_rows import CAUSE, reason_of
from easydel.data.examples import Examples
from easydel.data.lost import OF_EARLIER_TURNS
from easydel.data.pair import Cut, Pair
from easydel.data.tokenize import Joined
from easydel.data.used_columns import UsedColumns
from easydel.errors import warn

PARTS = ("prompt", "chosen", "rejected")
MAX_BARS = 32
_REASONS = 3  # of rows that could not be read
_MERGED_WITHOUT_WARNING = 2  # tokens across the end of a prompt that many tokenizers join


class Histogram(NamedTuple):
    """The lengths of one part of the pairs, in tokens: `counts[i]` of them are in `[i * width, (i + 1) * width)`."""

    width: int
    counts: list[int]
    mean: float
    median: int
    longest: int


class Counts(NamedTuple):
    """What became of the rows of a dataset."""

    rows: int
    kept: int
    truncated: dict[str, int]  # kept rows by the limit that cut them; a row may be cut by several
    dropped: dict[str, int]  # by cause
    merged: int  # rows where the prompt, tokenized alone, is not how the whole text begins
    identical: int  # kept rows whose chosen and rejected completions are the same tokens
    lengths: Mapping[str, Histogram] = MappingProxyType({})  # of prompt, chosen and rejected, as cut
    masked: int = 0  # tokens of completions that bear no loss, as the model did not write them
    lost: Mapping[str, int] = MappingProxyType({})  # rows by what the chat template left out of their messages
    most_merged: int = 0  # tokens at the end of a prompt, tokenized alone, that are others with a completion behind it
    most_merged_row: int = -1  # number of the row where they are the most
    unreadable: tuple[str, ...] = ()  # what is wrong with the first rows that could not be read
    weights: tuple[float, float] = (1.0, 1.0)  # smallest and largest of the kept rows
    margins: tuple[float, float] = (0.0, 0.0)
    preferences: tuple[float, float] = (1.0, 1.0)

    def values(self) -> dict[str, Any]:
        """Returns the counts as `data.json` has them."""
        values = self._asdict() | {"lengths": {part: bars._asdict() for part, bars in self.lengths.items()}}
        return values if self.unreadable else {name: value for name, value in values.items() if name != "unreadable"}

    def summary(self) -> str:
        """Returns the counts as a short paragraph.

        >>> Counts(3, 2, {"max_length": 1}, {"too long": 1}, 0, 0).summary()
        '2 of 3 rows kept. Dropped: 1 (too long). Truncated: 1 (max_length).'
        """
        parts = [f"{self.kept} of {self.rows} rows kept."]
        for title, causes in (("Dropped", self.dropped), ("Truncated", self.truncated)):
            if causes:
                parts.append(f"{title}: " + ", ".join(f"{count} ({cause})" for cause, count in causes.items()) + ".")
        if self.unreadable:
            more = self.dropped[CAUSE] - len(self.unreadable)
            parts.append(f"Could not be read: {' '.join(self.unreadable)}" + (f" And {more} more." if more else ""))
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
            parts.append(f"In {self.identical} chosen and rejected are the same tokens.")
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
    weights: tuple[float, float] | None = None  # smallest and largest
    margins: tuple[float, float] | None = None
    preferences: tuple[float, float] | None = None
    examples: Examples = field(default_factory=Examples)
    columns: UsedColumns = field(default_factory=UsedColumns)
    unreadable: list[str] = field(default_factory=list)  # what is wrong with the first ones

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
        reason = reason_of(joined.dropped)
        if reason is not None and len(self.unreadable) < _REASONS:
            self.unreadable.append(reason)
        (self.dropped if cut.pair is None else self.truncated).update(cut.causes)
        if cut.pair is not None:
            self.kept += 1
            add_lengths(self.lengths, cut.pair)
            sides = cut.pair.sides
            self.masked += sum(len(side.completion) - side.slots for side in sides)
            self.weights = _widened(self.weights, cut.pair.weight)
            self.margins = _widened(self.margins, cut.pair.margin)
            self.preferences = _widened(self.preferences, cut.pair.preference)
            self.examples.add(joined, cut.pair, cut.causes)
            if sides[0].completion == sides[1].completion:
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
            preferences=self.preferences or (1.0, 1.0),
            unreadable=tuple(self.unreadable),
        )


def warn_about(tally: Tally) -> None:
    """Warns about messages left out, prompts whose ends change, and pairs whose completions are the same tokens."""
    for cause, count in tally.lost.items():
        if cause != OF_EARLIER_TURNS:
            warn(
                f"in {count} of {tally.rows} rows the chat template leaves out {cause}; the first is row "
                f"{tally.first_lost[cause]}."
            )
    if tally.most_merged > _MERGED_WITHOUT_WARNING:
        warn(
            f"in {tally.merged} of {tally.rows} rows the end of the prompt changes when a completion follows it, most "
            f"in row {tally.most_merged_row}, where the last {tally.most_merged} of {tally.most_merged_of} tokens of "
            "the prompt become others and count as completion. Causes are a chat template whose generation prompt "
            "differs from how it writes an assistant message, or a prompt in text that ends inside a word."
        )
    if tally.unreadable:
        warn(
            f"{tally.dropped[CAUSE]} of {tally.rows} rows could not be read and are left out (on_bad_row = 'skip'). "
            f"The first: {tally.unreadable[0]}"
        )
    if tally.identical:
        warn(
            f"in {tally.identical} of {tally.rows} rows chosen and rejected are the same tokens, so nothing is learned "
            f"from them; the first is row {tally.first_identical}."
        )


def _widened(known: tuple[float, float] | None, value: float) -> tuple[float, float]:
    return (value, value) if known is None else (min(known[0], value), max(known[1], value))


def add_lengths(seen: Mapping[str, Counter[int]], pair: Pair) -> None:
    """Adds the lengths of a pair; where its sides keep different parts of a prompt, its prompt is the chosen one's."""
    seen["prompt"][len(pair.prompt) or pair.chosen_context] += 1
    for name, side in zip(PARTS[1:], pair.sides, strict=True):
        seen[name][len(side.completion)] += 1


def histograms(seen: Mapping[str, Counter[int]]) -> dict[str, Histogram]:
    """Returns the lengths of each part as at most `MAX_BARS` bars; both completions have bars of one width.

    >>> found = histograms({"prompt": Counter({3: 2}), "chosen": Counter({40: 1}), "rejected": Counter({60: 3})})
    >>> found["prompt"], found["chosen"].width, found["rejected"].counts[-1]
    (Histogram(width=1, counts=[0, 0, 0, 2], mean=3.0, median=3, longest=3), 2, 3)
    """
    if not seen["prompt"]:
        return {}
    completions = _width(max(*seen["chosen"], *seen["rejected"]))
    widths = {"prompt": _width(max(seen["prompt"])), "chosen": completions, "rejected": completions}
    return {part: _histogram(seen[part], widths[part]) for part in PARTS}


def _width(longest: int) -> int:
    """Returns 1, 2, 5, 10, 20, 50, ...: the smallest that needs at most `MAX_BARS` bars."""
    return next(w for power in range(20) for part in (1, 2, 5) if longest // (w := part * 10**power) < MAX_BARS)


def _histogram(lengths: Counter[int], width: int) -> Histogram:
    bars = [0] * (max(lengths) // width + 1)
    for length, count in lengths.items():
        bars[length // width] += count
    total = lengths.total()
    mean = sum(length * count for length, count in lengths.items()) / total
    ordered = sorted(lengths)
    reached = accumulate(lengths[length] for length in ordered)
    median = next(length for length, count in zip(ordered, reached, strict=True) if 2 * count >= total)
    return Histogram(width, bars, round(mean, 2), median, max(lengths))
