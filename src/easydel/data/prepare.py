"""A dataset as pairs: every row read, tokenised and cut to length, with a count of all that was cut or dropped."""

from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import closing
from functools import partial
from typing import Any, NamedTuple

from easydel.data.column_names import read_columns
from easydel.data.columns import Row
from easydel.data.counts import Counts, Tally, warn_of
from easydel.data.format import NO_COLUMNS
from easydel.data.pair import PROMPT_TOO_LONG, Cut, Limits, Pair, truncate
from easydel.data.read import Read, read_rows
from easydel.data.share import ALONE, Share
from easydel.data.tokenize import Joined
from easydel.data.tokenizer import Tokenizer
from easydel.errors import DataError


class Prepared(NamedTuple):
    """A dataset ready to be packed."""

    pairs: list[Pair]
    counts: Counts


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
        with closing(self.read(rows, partial(tally.columns.add, columns=self.columns), share)) as read:
            for row in read:
                pair = self.pair(row, tally)
                advance(1)
                if pair is not None:
                    yield pair
        if not tally.rows:
            raise DataError("there are no rows.")
        self.check_left(tally)

    def read(self, rows: Iterable[Row], see: Callable[[Row], None], share: Share) -> Generator[Read, None, None]:
        """Yields the rows as token ids, in order, before they are cut; `see` is shown each as it was given.

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
        )
        with closing(read):
            for row in read:
                _check_ids(row.joined, self.vocab_size, row.number)
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
        if not tally.kept:
            raise DataError(f"{words}no row is left: {tally.counts().summary()}{_way_out(tally.dropped, self.limits)}")


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


def _way_out(dropped: Iterable[str], limits: Limits) -> str:
    if PROMPT_TOO_LONG not in dropped:
        return ""
    return (
        f" Raise max_length, now {limits.max_length}; or keep the end of each prompt with max_prompt_length, or of "
        "prompt and completion together with truncation_mode 'keep_end'."
    )


def _cut(row: Read, limits: Limits) -> Cut:
    if row.joined.dropped:
        return Cut(None, (row.joined.dropped,))
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
