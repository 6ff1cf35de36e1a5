"""Rows as token ids before truncation: tokenised in this process or in others, or found in the cache."""

import os
import pickle
import signal
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

from easydel.data.columns import Row, numbers_of, read_tokens, without_text
from easydel.data.format import NO_COLUMNS
from easydel.data.given import as_rows, check_columns, warn_of_systems
from easydel.data.share import ALONE, Share
from easydel.data.token_cache import LEAST_ROWS, TokenCache
from easydel.data.tokenize import Joined
from easydel.data.tokenizer import Tokenizer
from easydel.errors import ConfigError, DataError

ROWS_AT_ONCE = 512  # fast tokenizers use every core on a list of texts
Work = Callable[[], list[Joined]]
"""Token ids being made: calling it waits for them."""


class Read(NamedTuple):
    """A row as it was read: its number, its token ids, and how much it counts."""

    number: int
    joined: Joined
    weight: float
    margin: float


class _Chunk(NamedTuple):
    first: int  # number of its first row
    rows: list[Row]


def read_rows(
    rows: Iterable[Row],
    tokenizer: Tokenizer | None,
    *,
    cache_directory: str | None = None,
    dataset_num_proc: int | None = None,
    columns: Mapping[str, Any] = NO_COLUMNS,
    share: Share = ALONE,
    see: Callable[[Row], None] = lambda row: None,
) -> Generator[Read, None, None]:
    """Yields the rows in order, numbered from 0, as token ids.

    Args:
        rows: text, conversations or token ids, in any of the forms of `easydel.data.format`.
        tokenizer: not needed for rows of token ids.
        cache_directory: where token ids are kept for the next time (see `easydel.data.cache.open_cache`).
        dataset_num_proc: processes that tokenise; None or 1 is this one. They end with the iterator.
        columns: which column stands for which that is read, see `easydel.data.column_names.read_columns`.
        share: which of the rows this process tokenises, where it is one of several that make one run; those of the
            others are known once all are done.
        see: is shown every row as it was given, those of other processes too.

    Raises:
        DataError: a row that cannot be read.
        ConfigError: processes that cannot be started, or a cache folder that cannot be used.
    """
    chunks = _chunks(as_rows(rows, columns), columns, see)
    first_chunks = list(islice(chunks, -(-LEAST_ROWS // ROWS_AT_ONCE))) if cache_directory is not None else []
    cache = TokenCache.open(cache_directory, tokenizer, [row for chunk in first_chunks for row in chunk.rows], columns)
    with _workers(tokenizer, dataset_num_proc, columns) as start:
        ahead = 0 if dataset_num_proc in (None, 1) else 2 * dataset_num_proc
        together = _tokenized if share.processes == 1 else partial(_tokenized_together, share, columns)
        with closing(together(chain(first_chunks, chunks), cache, start, ahead)) as tokenized:
            for chunk, found in tokenized:
                for number, (row, joined) in enumerate(zip(chunk.rows, found, strict=True), chunk.first):
                    yield Read(number, joined, *numbers_of(row, number, columns))


def _chunks(rows: Iterable[Row], columns: Mapping[str, Any], see: Callable[[Row], None]) -> Iterator[_Chunk]:
    rows, first = iter(rows), 0
    while chunk := list(islice(rows, ROWS_AT_ONCE)):
        for at, row in enumerate(chunk, first):
            if not isinstance(row, Mapping):
                raise DataError(f"row {at} is of type {type(row).__name__}; a row must be a dict of columns.")
            see(row)
        if not first:
            check_columns(chunk, columns)
            warn_of_systems(chunk, columns)
        yield _Chunk(first, chunk)
        first += len(chunk)


def _tokenized(
    chunks: Iterable[_Chunk], cache: TokenCache, start: Callable[[_Chunk], Work], ahead: int
) -> Generator[tuple[_Chunk, list[Joined]], None, None]:
    """Yields chunks with their token ids, in order; up to `ahead` more are being worked on meanwhile."""
    waiting: deque[tuple[_Chunk, Work]] = deque()
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
    chunks: Iterable[_Chunk],
    cache: TokenCache,
    start: Callable[[_Chunk], Work],
    ahead: int,
) -> Generator[tuple[_Chunk, Sequence[Joined]], None, None]:
    """Yields all chunks in order, of which this process tokenises its share; of the others no text is kept."""
    seen: list[_Chunk] = []

    def noted() -> Iterator[_Chunk]:
        for chunk in chunks:
            seen.append(_Chunk(chunk.first, [without_text(row, columns) for row in chunk.rows]))
            yield chunk

    def mine() -> list[list[Joined]]:
        with closing(_tokenized(share.of(noted()), cache, start, ahead)) as tokenized:
            return [found for _, found in tokenized]

    found = share.joined(mine)  # after which all chunks have been seen
    yield from zip(seen, found, strict=True)


def _begun(chunk: _Chunk, cache: TokenCache, start: Callable[[_Chunk], Work]) -> Work:
    key = cache.key(chunk.rows)
    found = cache.load(key)
    if found is not None:
        return lambda: found
    work = start(chunk)

    def finish() -> list[Joined]:
        made = work()
        cache.store(key, made)
        return made

    return finish


@contextmanager
def _workers(
    tokenizer: Tokenizer | None, count: int | None, columns: Mapping[str, Any]
) -> Iterator[Callable[[_Chunk], Work]]:
    """Gives what starts the work on a chunk, in this process or in `count` others that end with the context."""
    if tokenizer is None or count is None or count == 1:
        read = partial(read_tokens, columns=columns) if columns else read_tokens
        yield lambda chunk: partial(read, chunk.rows, chunk.first, tokenizer)
        return
    # Spawned and not forked: this process has threads, of jax and of tokenizers, that a fork would cut off.
    pool = ProcessPoolExecutor(count, get_context("spawn"), _become_worker, (_pickled(tokenizer),))

    def start(chunk: _Chunk) -> Work:
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


def _work(chunk: _Chunk, columns: Mapping[str, Any]) -> list[Joined]:
    return read_tokens(chunk.rows, chunk.first, _tokenizer, columns)
