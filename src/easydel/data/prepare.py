"""A dataset as pairs: every row read, tokenised and cut to length, with a count of all that was cut or dropped."""

import warnings
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

from easydel.data.column_names import read_columns
from easydel.data.columns import Row
from easydel.data.examples import Examples
from easydel.data.format import NO_COLUMNS
from easydel.data.lengths import PARTS, Histogram, add_lengths, histograms
from easydel.data.lost import OF_EARLIER_TURNS
from easydel.data.pair import PROMPT_TOO_LONG, Cut, Limits, Pair, truncate
from easydel.data.read import Read, read_rows
from easydel.data.share import ALONE, Share
from easydel.data.tokenize import Joined
from easydel.data.tokenizer import Tokenizer
from easydel.data.used_columns import UsedColumns
from easydel.errors import DataError

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


class Prepared(NamedTuple):
    """A dataset ready to be packed."""

    pairs: list[Pair]
    counts: Counts


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


class Recipe(NamedTuple):
    """How rows become pairs. Make one with `make_recipe`."""

    tokenizer: Tokenizer | None
    limits: Limits
    vocab_size: int | None
    cache_directory: str | None
    dataset_num_proc: int | None
    columns: Mapping[str, Any] = NO_COLUMNS  # see `easydel.data.column_names.read_columns`

    def pairs(
        self,
        rows: Iterable[Row],
        tally: Tally,
        advance: Callable[[int], None] = lambda count: None,
        share: Share = ALONE,
    ) -> Generator[Pair, None, None]:
        """Yields the pairs of the rows that are kept, in order; counts every row in `tally` and tells `advance` of it.

        Of several processes that come here with the same rows, each tokenises its `share`.

        Raises:
            DataError: a row that cannot be read, an id of `vocab_size` or more or, in the end, no row left.
        """
        known: dict[int, int] = {}
        read = read_rows(
            rows,
            self.tokenizer,
            cache_directory=self.cache_directory,
            dataset_num_proc=self.dataset_num_proc,
            columns=self.columns,
            share=share,
            see=partial(tally.columns.add, columns=self.columns),
        )
        with closing(read):
            for row in read:
                _check_ids(row.joined, self.vocab_size, row.number)
                cut = _cut(row, self.limits, known)
                tally.add(row.joined, cut, row.number)
                advance(1)
                if cut.pair is not None:
                    yield cut.pair
        if not tally.rows:
            raise DataError("there are no rows.")
        if not tally.kept:
            raise DataError(f"no row is left: {tally.counts().summary()}{_way_out(tally.dropped, self.limits)}")


def make_recipe(
    tokenizer: Tokenizer | None = None,
    *,
    max_length: int | None = None,
    max_prompt_length: int | None = None,
    max_completion_length: int | None = None,
    truncation_mode: str = "keep_start",
    vocab_size: int | None = None,
    cache_directory: str | None = None,
    dataset_num_proc: int | None = None,
    columns: Mapping[str, Any] | None = None,
) -> Recipe:
    """Returns how the rows of a run become pairs.

    Args:
        tokenizer: not needed for rows of token ids (`prompt_ids`, `chosen_ids`, `rejected_ids`), which are taken as
            they are, up to the limits.
        max_length: see `easydel.data.pair.Limits`, also for the three that follow.
        vocab_size: how many token ids the model knows; a row with others is an error.
        cache_directory: where token ids are kept for the next time (see `easydel.data.cache.open_cache`); None keeps
            none.
        dataset_num_proc: processes that tokenise; None or 1 is this one.
        columns: which column of the rows stands for which that is read, such as `{"prompt": "question"}`; `ignore`
            names those to be left out.

    Raises:
        ConfigError: limits that cannot work, or columns that nothing is read from.
    """
    limits = Limits(max_length, max_prompt_length, max_completion_length, truncation_mode)
    limits.check()
    return Recipe(tokenizer, limits, vocab_size, cache_directory, dataset_num_proc, read_columns(columns))


def prepare(
    rows: Iterable[Row],
    tokenizer: Tokenizer | None = None,
    *,
    max_length: int | None = None,
    max_prompt_length: int | None = None,
    max_completion_length: int | None = None,
    truncation_mode: str = "keep_start",
    vocab_size: int | None = None,
    cache_directory: str | None = None,
    dataset_num_proc: int | None = None,
    columns: Mapping[str, Any] | None = None,
) -> Prepared:
    """Returns the pairs of a dataset in order, `Pair.index` being the row number, and counts of what was cut.

    The arguments after `rows` are those of `make_recipe`. Columns that no form of row has (see `easydel.data.format`)
    are ignored. Warns of rows whose completions are the same.

    Raises:
        DataError: a row that cannot be read, or no row left.
        ConfigError: limits that cannot work, processes that cannot be started, a cache folder that cannot be used.
    """
    recipe = make_recipe(
        tokenizer,
        max_length=max_length,
        max_prompt_length=max_prompt_length,
        max_completion_length=max_completion_length,
        truncation_mode=truncation_mode,
        vocab_size=vocab_size,
        cache_directory=cache_directory,
        dataset_num_proc=dataset_num_proc,
        columns=columns,
    )
    return prepare_with(recipe, rows)


def prepare_with(
    recipe: Recipe,
    rows: Iterable[Row],
    advance: Callable[[int], None] = lambda count: None,
    share: Share = ALONE,
    tally: Tally | None = None,
) -> Prepared:
    """Returns the pairs of a dataset and counts of what was cut, see `prepare`; `advance` is told as rows are done.

    `share` as in `Recipe.pairs`. A fresh `tally` that is given holds afterwards what else was seen of the rows.
    """
    tally = Tally() if tally is None else tally
    pairs = list(recipe.pairs(rows, tally, advance, share))
    warn_of(tally, stacklevel=6)  # the caller of DPOTrainer
    return Prepared(pairs, tally.counts())


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


def _way_out(dropped: Iterable[str], limits: Limits) -> str:
    if PROMPT_TOO_LONG not in dropped:
        return ""
    return (
        f" Raise max_length, now {limits.max_length}; or keep the end of each prompt with max_prompt_length, or of "
        "prompt and completion together with truncation_mode 'keep_end'."
    )


def _cut(row: Read, limits: Limits, known: dict[int, int]) -> Cut:
    if row.joined.dropped:
        return Cut(None, (row.joined.dropped,))
    # One int object per id of the vocabulary: a list of ids then takes 8 bytes a token and not 36.
    prompt, chosen, rejected = (list(map(known.setdefault, ids, ids)) for ids in row.joined[:3])
    if not chosen or not rejected:
        return Cut(None, ("a completion has no token of its own",))
    if not prompt:
        return Cut(None, ("the prompt has no token of its own",))
    pair = Pair(
        prompt,
        chosen,
        rejected,
        index=row.number,
        weight=row.weight,
        margin=row.margin,
        chosen_trained=row.joined.chosen_trained,
        rejected_trained=row.joined.rejected_trained,
    )
    return truncate(pair, limits)


def _check_ids(joined: Joined, vocab_size: int | None, number: int) -> None:
    for name, ids in zip(("prompt", "chosen", "rejected"), joined[:3], strict=True):
        if ids and min(ids) < 0:
            raise DataError(f"row {number}: {name} holds the token id {min(ids)}; ids start at 0.")
        if ids and vocab_size is not None and max(ids) >= vocab_size:
            raise DataError(
                f"row {number}: {name} holds the token id {max(ids)}, but the model knows {vocab_size} tokens, "
                f"0 to {vocab_size - 1}. Use the tokenizer that belongs to the model."
            )


def _widened(known: tuple[float, float] | None, value: float) -> tuple[float, float]:
    return (value, value) if known is None else (min(known[0], value), max(known[1], value))


def _identical(pair: Pair) -> bool:
    return pair.chosen[pair.chosen_context :] == pair.rejected[pair.rejected_context :]


def _masked(pair: Pair) -> int:
    """How many tokens behind the context bear no loss."""
    sides = (pair.chosen_trained, pair.chosen_context), (pair.rejected_trained, pair.rejected_context)
    return sum(trained.count(False) - context for trained, context in sides if trained is not None)
