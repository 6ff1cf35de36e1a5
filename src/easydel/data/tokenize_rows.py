"""Rows as token ids before truncation: tokenized in this process or in others, or found in the cache."""

import os
import pickle
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from functools import partial
from itertools import chain, islice
from multiprocessing import get_context, parent_process
from typing import Any, NamedTuple

from easydel.data.bad_rows import BadRow, OnBadRow, reason_of, unreadable
from easydel.data.format import NO_COLUMNS, Dropped
from easydel.data.pair import NEUTRAL, RowNumbers
from easydel.data.python_rows import Row, as_rows
from easydel.data.render import Preference, to_preference
from easydel.data.row_chunks import ROWS_AT_ONCE, Chunk, RowChunks
from easydel.data.row_weights import numbers_of, without_text
from easydel.data.share import ALONE, Share
from easydel.data.token_cache import MIN_ROWS, TokenCache
from easydel.data.token_id_rows import read_ids
from easydel.data.tokenize import Joined, tokenize
from easydel.data.tokenizer import Tokenizer
from easydel.errors import ConfigError, DataError

Work = Callable[[], list[Joined]]
"""Token ids being made: calling it waits for them."""


class Read(NamedTuple):
    """A row as it was read: its number, its token ids, and how much it counts."""

    number: int
    joined: Joined
    numbers: RowNumbers


def read_rows(
    rows: Iterable[Row],
    tokenizer: Tokenizer | None,
    *,
    cache_directory: str | None = None,
    dataset_num_proc: int | None = None,
    columns: Mapping[str, Any] = NO_COLUMNS,
    share: Share = ALONE,
    see: Callable[[Row], None] = lambda row: None,
    check: Callable[[int, Joined], None] = lambda number, joined: None,
    on_bad_row: OnBadRow = "stop",
    wanted: Callable[[], int] = lambda: sys.maxsize,
    scored: bool = False,
) -> Generator[Read, None, None]:
    """Yields the rows in order, numbered from 0, as token ids. An error comes after the rows before it.

    Args:
        rows: text, conversations or token ids, in any of the forms of `easydel.data.format`.
        tokenizer: not needed for rows of token ids.
        cache_directory: where token ids are kept for the next run (see `easydel.data.cache.open_cache`).
        dataset_num_proc: processes that tokenize; None or 1 is this one. They end with the iterator.
        columns: which column stands for which that is read, see `easydel.data.column_names.read_columns`.
        share: which of the rows this process tokenizes, where it is one of several that make one run; those of the
            others are known once all are done.
        see: is shown every row as it was given, those of other processes too.
        check: raises DataError for token ids that cannot be trained on.
        on_bad_row: "skip" yields rows that cannot be read, or that `check` refuses, as `bad_rows.unreadable`.
        wanted: says how many rows may be read now. It is asked at the beginning, and again when all these have been
            yielded; 0 is the end.
        scored: the rows must have the scores of both completions.

    Raises:
        DataError: a row that cannot be read.
        ConfigError: processes that cannot be started, or a cache folder that cannot be used.
    """
    source = RowChunks(as_rows(rows, columns), columns, see)
    chunks = source.next(wanted())
    first_chunks = list(islice(chunks, -(-MIN_ROWS // ROWS_AT_ONCE))) if cache_directory is not None else []
    cache = TokenCache.open(cache_directory, tokenizer, [row for chunk in first_chunks for row in chunk.rows], columns)
    chunks = chain(first_chunks, chunks)
    with _workers(tokenizer, dataset_num_proc, columns) as start:
        ahead = 0 if dataset_num_proc in (None, 1) else 2 * dataset_num_proc
        together = _tokenized if share.processes == 1 else partial(_tokenized_together, share, columns)
        while True:
            with closing(together(chunks, cache, start, ahead)) as tokenized:
                for chunk, found in tokenized:
                    for number, (row, joined) in enumerate(zip(chunk.rows, found, strict=True), chunk.first):
                        try:
                            read = _read(number, row, joined, columns, check, scored)
                        except DataError as error:
                            if on_bad_row == "stop":
                                raise
                            read = Read(number, Joined([], [], [], dropped=unreadable(error)), NEUTRAL)
                        yield read
                    if chunk.broke is not None:
                        raise chunk.broke
            if source.is_at_its_end or not (more := wanted()):
                return
            chunks = source.next(more)


def read_tokens(
    rows: Sequence[Row], first: int, tokenizer: Tokenizer | None, columns: Mapping[str, Any] = NO_COLUMNS
) -> list[Joined]:
    """Returns the token ids of rows that are numbered from `first`; the texts among them are tokenized together.

    Raises:
        DataError: a row of no accepted form, or of text without a tokenizer.
    """
    found: list[Joined | Preference] = []
    for number, row in enumerate(rows, first):
        joined = read_ids(row, number, columns)
        if joined is None:
            preference = to_preference(row, number, tokenizer, columns)
            joined = Joined([], [], [], dropped=preference.cause) if isinstance(preference, Dropped) else preference
        found.append(joined)
    preferences = [each for each in found if isinstance(each, Preference)]
    if preferences and tokenizer is None:
        raise DataError(
            "the rows are text, but no tokenizer was given. Pass one as processing_class=, or give rows of token ids: "
            "'prompt_ids', 'chosen_ids' and 'rejected_ids'."
        )
    tokenized = iter(_of_texts(preferences, tokenizer, first) if tokenizer is not None else [])
    return [next(tokenized) if isinstance(each, Preference) else each for each in found]


def read_each(
    rows: Sequence[Row], first: int, tokenizer: Tokenizer | None, columns: Mapping[str, Any] = NO_COLUMNS
) -> list[Joined]:
    """Returns what `read_tokens` does, a row at a time: those that it raises an error for are `unreadable`."""
    found = []
    for number, row in enumerate(rows, first):
        try:
            if isinstance(row, BadRow):
                raise DataError(row.reason)
            found += read_tokens([row], number, tokenizer, columns)
        except DataError as error:
            found.append(Joined([], [], [], dropped=unreadable(error)))
    return found


def _of_texts(preferences: Sequence[Preference], tokenizer: Tokenizer, first: int) -> list[Joined]:
    try:
        return tokenize(preferences, tokenizer)
    except (ConfigError, DataError):
        raise
    except Exception as error:  # tokenizers raise what they like, and do not say for which text
        raise DataError(
            f"row {first}: the tokenizer cannot read its text ({type(error).__name__}: {error}). Fix the row or "
            "remove it."
        ) from error


def _read(
    number: int,
    row: Row,
    joined: Joined,
    columns: Mapping[str, Any],
    check: Callable[[int, Joined], None],
    scored: bool,
) -> Read:
    reason = reason_of(joined.dropped)
    if reason is not None:
        raise DataError(reason)
    numbers = numbers_of(row, number, columns, scored=scored)
    check(number, joined)
    return Read(number, joined, numbers)


def _tokenized(
    chunks: Iterable[Chunk], cache: TokenCache, start: Callable[[Chunk], Work], ahead: int
) -> Generator[tuple[Chunk, list[Joined]], None, None]:
    """Yields chunks with their token ids, in order; up to `ahead` more are being worked on meanwhile."""
    waiting: deque[tuple[Chunk, Work]] = deque()
    for chunk in chunks:
        waiting.append((chunk, _begun(chunk, cache, start)))
        if len(waiting) > ahead:
            done, work = waiting.popleft()
            yield done, work()
    for done, work in waiting:
        yield done, work()


def _tokenized_together(
    share: Share,
    columns: Mapping[str, Any],
    chunks: Iterable[Chunk],
    cache: TokenCache,
    start: Callable[[Chunk], Work],
    ahead: int,
) -> Generator[tuple[Chunk, Sequence[Joined]], None, None]:
    """Yields all chunks in order, of which this process tokenizes its share; of the others no text is kept."""
    seen: list[Chunk] = []

    def noted() -> Iterator[Chunk]:
        for chunk in chunks:
            if chunk.broke is not None:  # the others have rows that this process has not
                raise chunk.broke
            seen.append(Chunk(chunk.first, [without_text(row, columns) for row in chunk.rows]))
            yield chunk

    def mine() -> list[list[Joined]]:
        with closing(_tokenized(share.of(noted()), cache, start, ahead)) as tokenized:
            return [found for _, found in tokenized]

    found = share.joined(mine)  # after which all chunks have been seen
    yield from zip(seen, found, strict=True)


def _begun(chunk: Chunk, cache: TokenCache, start: Callable[[Chunk], Work]) -> Work:
    key = cache.key(chunk.rows)
    found = cache.load(key)
    if found is not None:
        return lambda: found
    work = start(chunk)

    def finish() -> list[Joined]:
        try:
            made = work()
        except DataError:
            return read_each(chunk.rows, chunk.first, cache.tokenizer, cache.columns)
        cache.store(key, made)
        return made

    return finish


@contextmanager
def _workers(
    tokenizer: Tokenizer | None, count: int | None, columns: Mapping[str, Any]
) -> Iterator[Callable[[Chunk], Work]]:
    """Gives what starts the work on a chunk, in this process or in `count` others that end with the context."""
    if tokenizer is None or count is None or count == 1:
        read = partial(read_tokens, columns=columns) if columns else read_tokens
        yield lambda chunk: partial(read, chunk.rows, chunk.first, tokenizer)
        return
    # Spawned and not forked: this process has threads, of jax and of tokenizers, that a fork would cut off.
    pool = ProcessPoolExecutor(count, get_context("spawn"), _become_worker, (_pickled(tokenizer),))

    def start(chunk: Chunk) -> Work:
        with _dying_is_an_error(count):
            future = pool.submit(_work, chunk, dict(columns))

        def finish() -> list[Joined]:
            with _dying_is_an_error(count):
                return future.result()

        return finish

    try:
        yield start
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _dying_is_an_error(count: int) -> Iterator[None]:
    """Raises ConfigError for a worker that is gone; where the work is waited for, as others may wait for its end."""
    try:
        yield
    except BrokenProcessPool as error:
        raise ConfigError(
            f"a process of dataset_num_proc = {count} ended before its work. A script that trains must do so below "
            "`if __name__ == '__main__':`, as each process imports it; or memory ran out: lower dataset_num_proc, or "
            "leave it out."
        ) from error


def _pickled(tokenizer: Tokenizer) -> bytes:
    try:
        return pickle.dumps(tokenizer)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ConfigError(
            f"dataset_num_proc sends the tokenizer to other processes, but it cannot be pickled ({error}): leave "
            "dataset_num_proc out, or define what it holds at the top of a module."
        ) from error


_tokenizer: Tokenizer | None = None  # of a worker process


def _become_worker(pickled: bytes) -> None:
    global _tokenizer
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that started this one ends it
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # there is a process to each core already
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    _tokenizer = pickle.loads(pickled)


def _end_with_parent() -> None:
    """A parent that is killed cannot end its workers, and they would wait for work for ever."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(chunk: Chunk, columns: Mapping[str, Any]) -> list[Joined]:
    return read_tokens(chunk.rows, chunk.first, _tokenizer, columns)
