"""A dataset as pairs: every row read, tokenised and cut to length, with a count of all that was cut or dropped."""

import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from numbers import Integral
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from easydel.data.format import to_preference
from easydel.data.pair import PROMPT_TOO_LONG, Cut, Limits, Pair, truncate
from easydel.data.tokenize import Joined, Tokenizer, renderer, tokenize
from easydel.errors import DataError

_ROWS_AT_ONCE = 1024  # fast tokenizers use every core on a list of texts
_ID_COLUMNS = (
    ("prompt_ids", "chosen_ids", "rejected_ids"),
    ("prompt_input_ids", "chosen_input_ids", "rejected_input_ids"),
)


class Counts(NamedTuple):
    """What became of the rows of a dataset."""

    rows: int
    kept: int
    truncated: dict[str, int]  # kept rows by the limit that cut them; a row may be cut by several
    dropped: dict[str, int]  # by cause
    merged: int  # rows where the prompt, tokenised alone, is not how the whole text begins
    identical: int  # kept rows whose chosen and rejected completions are the same tokens

    def summary(self) -> str:
        """Returns the counts as a short paragraph.

        >>> Counts(3, 2, {"max_length": 1}, {"too long": 1}, 0, 0).summary()
        '2 of 3 rows kept. Dropped: 1 (too long). Truncated: 1 (max_length).'
        """
        parts = [f"{self.kept} of {self.rows} rows kept."]
        for title, causes in (("Dropped", self.dropped), ("Truncated", self.truncated)):
            if causes:
                parts.append(f"{title}: " + ", ".join(f"{count} ({cause})" for cause, count in causes.items()) + ".")
        if self.merged:
            parts.append(f"In {self.merged} the end of the prompt changes when a completion follows it.")
        if self.identical:
            parts.append(f"In {self.identical} chosen and rejected are the same and teach no preference.")
        return " ".join(parts)


class Prepared(NamedTuple):
    """A dataset ready to be packed."""

    pairs: list[Pair]
    counts: Counts


def prepare(
    rows: Iterable[Mapping[str, Any]],
    tokenizer: Tokenizer | None = None,
    *,
    max_length: int | None = None,
    max_prompt_length: int | None = None,
    max_completion_length: int | None = None,
    truncation_mode: str = "keep_start",
    vocab_size: int | None = None,
) -> Prepared:
    """Returns the pairs of a dataset in order, `Pair.index` being the row number, and counts of what was cut.

    Rows of token ids (`prompt_ids`, `chosen_ids`, `rejected_ids`) are taken as they are, up to the limits, and
    need no tokenizer. Columns of other names are ignored.

    Warns of rows whose completions are the same.

    Raises:
        DataError: a row that cannot be read, an id of `vocab_size` or more, or no row left.
        ConfigError: limits that cannot work.
    """
    limits = Limits(max_length, max_prompt_length, max_completion_length, truncation_mode)
    limits.check()
    _check_rows(rows)
    pairs: list[Pair] = []
    truncated, dropped = Counter[str](), Counter[str]()
    known: dict[int, int] = {}
    number = merged = 0
    for chunk in _chunks(rows):
        for joined in _read(chunk, number, tokenizer):
            _check_ids(joined, vocab_size, number)
            pair, causes = _cut(joined, limits, number, known)
            (dropped if pair is None else truncated).update(causes)
            pairs += [] if pair is None else [pair]
            merged += joined.merged
            number += 1
    identical = [pair.index for pair in pairs if _identical(pair)]
    counts = Counts(number, len(pairs), dict(truncated), dict(dropped), merged, len(identical))
    if not number:
        raise DataError("there are no rows.")
    if not pairs:
        raise DataError(f"no row is left: {counts.summary()}{_way_out(dropped, limits)}")
    if identical:
        warnings.warn(
            f"in {len(identical)} of {number} rows chosen and rejected are the same and teach no preference; the "
            f"first is row {identical[0]}.",
            stacklevel=4,  # the caller of DPOTrainer
        )
    return Prepared(pairs, counts)


def _check_rows(rows: Any) -> None:
    if isinstance(rows, str | Path):
        raise DataError(
            f"{str(rows)!r} is the name of a dataset, not its rows: read them with easydel.data.source.load_rows."
        )
    if isinstance(rows, Mapping):
        names = ", ".join(map(repr, rows))
        raise DataError(f"a dict with the keys {names} is not a list of rows. Of a dict of splits, give one split.")


def _way_out(dropped: Iterable[str], limits: Limits) -> str:
    if PROMPT_TOO_LONG not in dropped:
        return ""
    return (
        f" Raise max_length, now {limits.max_length}; or keep the end of each prompt with max_prompt_length, or of "
        "prompt and completion together with truncation_mode 'keep_end'."
    )


def _chunks(rows: Iterable[Any]) -> Iterator[list[Mapping[str, Any]]]:
    rows, start = iter(rows), 0
    while chunk := list(islice(rows, _ROWS_AT_ONCE)):
        for at, row in enumerate(chunk, start):
            if not isinstance(row, Mapping):
                raise DataError(f"row {at} is of type {type(row).__name__}; a row must be a dict of columns.")
        yield chunk
        start += len(chunk)


def _read(chunk: Sequence[Mapping[str, Any]], first: int, tokenizer: Tokenizer | None) -> Iterator[Joined]:
    """Rows in order; the texts among them are tokenised together."""
    given = [_given_ids(row, number) for number, row in enumerate(chunk, first)]
    preferences = []
    for number, (row, joined) in enumerate(zip(chunk, given, strict=True), first):
        if joined is None:
            render = renderer(tokenizer, number) if tokenizer is not None else None
            preferences.append(to_preference(row, number, render))
    if preferences and tokenizer is None:
        raise DataError(
            "the rows are text and no tokenizer was given. Pass one (processing_class), or rows of token ids "
            "as 'prompt_ids', 'chosen_ids' and 'rejected_ids'."
        )
    tokenized = iter(tokenize(preferences, tokenizer) if tokenizer is not None else [])
    return (next(tokenized) if joined is None else joined for joined in given)


def _given_ids(row: Mapping[str, Any], number: int) -> Joined | None:
    names = next((names for names in _ID_COLUMNS if any(name in row for name in names)), None)
    if names is None:
        return None
    if missing := [name for name in names if name not in row]:
        raise DataError(f"row {number} has token ids but no {missing[0]!r}. All of {', '.join(names)} are needed.")
    sides = []
    for name in names:
        ids = row[name].tolist() if isinstance(row[name], np.ndarray) else row[name]
        if not isinstance(ids, list | tuple) or not _are_whole(ids):
            raise DataError(f"row {number}: {name!r} must be a list of whole numbers, the ids of its tokens.")
        if not ids:
            raise DataError(f"row {number}: {name!r} is empty; it needs at least one token.")
        sides.append(list(map(int, ids)))
    return Joined(*sides)


def _are_whole(values: Sequence[Any]) -> bool:
    """Whether all are whole numbers, of Python or numpy; a truth value is none."""
    return all(issubclass(kind, Integral) and kind is not bool for kind in set(map(type, values)))


def _cut(joined: Joined, limits: Limits, number: int, known: dict[int, int]) -> Cut:
    # One int object per id of the vocabulary: a list of ids then takes 8 bytes a token and not 36.
    prompt, chosen, rejected = (list(map(known.setdefault, ids, ids)) for ids in joined[:3])
    if not chosen or not rejected:
        return Cut(None, ("a completion has no token of its own",))
    if not prompt:
        return Cut(None, ("the prompt has no token of its own",))
    return truncate(Pair(prompt, chosen, rejected, index=number), limits)


def _check_ids(joined: Joined, vocab_size: int | None, number: int) -> None:
    for name, ids in zip(("prompt", "chosen", "rejected"), joined[:3], strict=True):
        if ids and min(ids) < 0:
            raise DataError(f"row {number}: {name} holds the token id {min(ids)}; ids start at 0.")
        if ids and vocab_size is not None and max(ids) >= vocab_size:
            raise DataError(
                f"row {number}: {name} holds the token id {max(ids)}, but the model knows {vocab_size} tokens, "
                f"0 to {vocab_size - 1}. Use the tokenizer that belongs to the model."
            )


def _identical(pair: Pair) -> bool:
    return pair.chosen[pair.chosen_context :] == pair.rejected[pair.rejected_context :]
