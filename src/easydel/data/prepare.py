"""A dataset as pairs: every row read, tokenized and cut to length, with a count of all that was cut or dropped."""

import sys
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import closing
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

from easydel.data.bad_rows import CAUSE, OnBadRow, reason_of
from easydel.data.column_names import read_columns
from easydel.data.counts import Counts, Tally, warn_about
from easydel.data.format import NO_COLUMNS
from easydel.data.pair import PROMPT_TOO_LONG, Cut, Limits, Pair, truncate
from easydel.data.python_rows import Row
from easydel.data.share import ALONE, Share
from easydel.data.tokenize import Joined
from easydel.data.tokenize_rows import Read, read_rows
from easydel.data.tokenizer import Tokenizer
from easydel.errors import DataError


class Prepared(NamedTuple):
    """A dataset ready to be packed."""

    pairs: list[Pair]
    counts: Counts


class TokenizeConfig(NamedTuple):
    """How rows become pairs."""

    tokenizer: Tokenizer | None = None  # not needed for rows of token ids
    limits: Limits = Limits()
    vocab_size: int | None = None  # how many token ids the model knows; a row with others is an error
    placeholders: Mapping[int, str] = MappingProxyType({})  # of images and sounds, in no row; {id: its key}
    cache_directory: str | None = None  # where token ids are kept, see `easydel.data.cache.open_cache`; None: nowhere
    dataset_num_proc: int | None = None  # processes that tokenize; None or 1 is this one
    columns: Mapping[str, Any] = NO_COLUMNS  # see `easydel.data.column_names.read_columns`
    on_bad_row: OnBadRow = "stop"  # "skip" drops rows that cannot be read
    scored: bool = False  # every row must have the scores of both completions

    def pairs(
        self,
        rows: Iterable[Row],
        tally: Tally,
        advance: Callable[[int], None] = lambda count: None,
        share: Share = ALONE,
        max_pairs: int | None = None,
    ) -> Generator[Pair, None, None]:
        """Yields the pairs of the rows that are kept, in order; counts every row in `tally` and by `advance(1)`.

        Of several processes that come here with the same rows, each tokenizes its `share`. With `max_pairs` no row is
        read after the last that is needed to keep that many pairs; `tally` is a fresh one.

        Raises:
            DataError: a row that cannot be read, an id of `vocab_size` or more or, in the end, no row left.
        """
        see = partial(tally.columns.add, columns=self.columns, scored=self.scored)
        wanted = (lambda: sys.maxsize) if max_pairs is None else lambda: max_pairs - tally.kept
        with closing(self.read(rows, see, share, wanted)) as read:
            for row in read:
                pair = self.pair(row, tally)
                advance(1)
                if pair is not None:
                    yield pair
        if not tally.rows:
            raise DataError("there are no rows.")
        self.check_left(tally)

    def read(
        self,
        rows: Iterable[Row],
        see: Callable[[Row], None],
        share: Share,
        wanted: Callable[[], int] = lambda: sys.maxsize,
    ) -> Generator[Read, None, None]:
        """Yields the rows as token ids, in order, before they are cut; `see` is shown each as it was given.

        `wanted` is that of `read_rows`.

        Raises:
            DataError: a row that cannot be read, or an id of `vocab_size` or more.
        """
        known: dict[int, int] = {}
        read = read_rows(
            rows,
            self.tokenizer,
            cache_directory=self.cache_directory,
            dataset_num_proc=self.dataset_num_proc,
            columns=self.columns,
            share=share,
            see=see,
            check=partial(_check_ids, self.vocab_size, self.placeholders),
            on_bad_row=self.on_bad_row,
            wanted=wanted,
            scored=self.scored,
        )
        with closing(read):
            for row in read:
                # One int object per id of the vocabulary: a list of ids then takes 8 bytes a token and not 36.
                prompt, chosen, rejected = (list(map(known.setdefault, ids, ids)) for ids in row.joined[:3])
                yield row._replace(joined=row.joined._replace(prompt=prompt, chosen=chosen, rejected=rejected))

    def pair(self, row: Read, tally: Tally) -> Pair | None:
        """Returns the pair of a row, cut to length, None where it is dropped; counts it in `tally`."""
        cut = _cut(row, self.limits)
        tally.add(row.joined, cut, row.number)
        return cut.pair

    def check_left(self, tally: Tally, words: str = "") -> None:
        """Raises DataError where no row was kept of those in `tally`, which are called `words`."""
        if tally.kept:
            return
        hint = ""
        if PROMPT_TOO_LONG in tally.dropped:
            hint = (
                f" Raise max_length, now {self.limits.max_length}; or keep the end of each prompt with "
                "max_prompt_length, or of prompt and completion together with truncation_mode 'keep_end'."
            )
        raise DataError(f"{words}no row is left: {tally.counts().summary()}{hint}")


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

    Columns that no form of row has (see `easydel.data.format`) are ignored. Warns of rows whose completions are the
    same.

    Args:
        tokenizer: not needed for rows of token ids (`prompt_ids`, `chosen_ids`, `rejected_ids`), which are taken as
            they are, up to the limits; for this and what is not said here see `TokenizeConfig`.
        max_length: see `easydel.data.pair.Limits`, also for the three that follow.
        columns: which column of the rows stands for which that is read, such as `{"prompt": "question"}`; `ignore`
            names those to be left out.

    Raises:
        DataError: a row that cannot be read, or no row left.
        ConfigError: limits that cannot work, columns that nothing is read from, processes that cannot be started, a
            cache folder that cannot be used.
    """
    limits = Limits(max_length, max_prompt_length, max_completion_length, truncation_mode)
    names = read_columns(columns)
    return prepare_with(
        TokenizeConfig(
            tokenizer,
            limits,
            vocab_size,
            cache_directory=cache_directory,
            dataset_num_proc=dataset_num_proc,
            columns=names,
        ),
        rows,
    )


def prepare_with(
    config: TokenizeConfig,
    rows: Iterable[Row],
    advance: Callable[[int], None] = lambda count: None,
    share: Share = ALONE,
    tally: Tally | None = None,
    max_pairs: int | None = None,
) -> Prepared:
    """Returns the pairs of a dataset and counts of what was cut, see `prepare`; `advance` is given the rows done since.

    `share` and `max_pairs` as in `TokenizeConfig.pairs`. A fresh `tally` that is given holds afterwards what else was
    seen of the rows.
    """
    tally = Tally() if tally is None else tally
    pairs = list(config.pairs(rows, tally, advance, share, max_pairs))
    warn_about(tally)
    return Prepared(pairs, tally.counts())


def _cut(row: Read, limits: Limits) -> Cut:
    if row.joined.dropped:
        return Cut(None, (row.joined.dropped if reason_of(row.joined.dropped) is None else CAUSE,))
    prompt, chosen, rejected = row.joined[:3]
    if not chosen or not rejected:
        return Cut(None, ("a completion has no token of its own",))
    if not prompt:
        return Cut(None, ("the prompt has no token of its own",))
    pair = Pair(
        prompt,
        chosen,
        rejected,
        index=row.number,
        **row.numbers._asdict(),
        chosen_trained=row.joined.chosen_trained,
        rejected_trained=row.joined.rejected_trained,
    )
    return truncate(pair, limits)


def _check_ids(vocab_size: int | None, placeholders: Mapping[int, str], number: int, joined: Joined) -> None:
    for name, ids in zip(("prompt", "chosen", "rejected"), joined[:3], strict=True):
        if ids and min(ids) < 0:
            raise DataError(f"row {number}: {name} holds the token id {min(ids)}; ids start at 0.")
        if ids and vocab_size is not None and max(ids) >= vocab_size:
            raise DataError(
                f"row {number}: {name} holds the token id {max(ids)}, but the model knows {vocab_size} tokens, "
                f"0 to {vocab_size - 1}. Use the tokenizer that belongs to the model."
            )
        place = next((place for place, token in enumerate(ids) if token in placeholders), None)
        if place is not None:
            raise DataError(
                f"row {number}: {name} holds the token id {ids[place]} at place {place}, which stands for an image, a "
                f"video or a sound ({placeholders[ids[place]]} in config.json): only text is trained. Take such rows "
                "out, or drop them with on_bad_row = 'skip'."
            )
