"""Items made ahead of where they are used, in a background thread."""

from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any, TypeVar, cast

from easydel.errors import Interrupted

T = TypeVar("T")
_SECONDS_TO_END = 5.0


@contextmanager
def prefetch(
    items: Iterator[T], depth: int = 2, *, wait_for: Callable[[Future], Any] = Future.result
) -> Iterator[Iterator[T]]:
    """Gives the items of an iterator, made up to `depth` ahead in one thread, which ends with the context.

    A generator is closed with the context. An exception in the thread is raised at its place in the order.

    >>> with prefetch(iter("ab")) as letters:
    ...     list(letters)
    ['a', 'b']

    Args:
        wait_for: gives the result of a future. Where it raises Interrupted the thread is left to itself, as a stream
            may give its next row in an hour. With any other error it has a few seconds to come to an end.
    """
    worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="batches")
    leave, end = False, object()
    waiting = deque(worker.submit(next, items, end) for _ in range(depth))
    try:
        yield _ahead(items, worker, waiting, end, wait_for)
    except Interrupted:
        leave = True
        raise
    except Exception:
        leave = bool(wait([made for made in waiting if not made.cancel()], timeout=_SECONDS_TO_END).not_done)
        raise
    finally:
        worker.shutdown(wait=not leave, cancel_futures=True)
        if isinstance(items, Generator) and not leave:
            items.close()


def _ahead(
    items: Iterator[T],
    worker: ThreadPoolExecutor,
    waiting: deque[Future[T | object]],
    end: object,
    wait_for: Callable[[Future], Any],
) -> Iterator[T]:
    while (item := wait_for(waiting.popleft())) is not end:
        waiting.append(worker.submit(next, items, end))
        yield cast(T, item)
