"""Threads over a stream of work, with a bound on how much of the stream is in memory."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_bounded(
    work: Callable[[Item], Result], items: Iterable[Item], workers: int, window: int | None = None
) -> Iterator[Result]:
    """Yield `work(item)` as the results come, in no order, with at most `window` items in flight.

    `items` is read only as fast as the work is done, so its length may be unbounded. The first exception
    stops everything: what has not started is cancelled, what runs is waited for, and it is raised.

    Args:
        work: called in threads; gains where it releases the interpreter lock (disk, network, hash, decode).
        items: read in the caller's thread.
        workers: threads, at least 1.
        window: items in flight; three per worker when None.
    """
    window = window or 3 * workers
    pending: set[Future[Result]] = set()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for item in items:
                pending.add(pool.submit(work, item))
                if len(pending) >= window:
                    done, pending = wait(pending, return_when=FIRST_COMPLETED)
                    for future in done:
                        yield future.result()
            while pending:
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
        finally:
            for future in pending:
                future.cancel()


def map_in_order(
    work: Callable[[Item], Result], items: Iterable[Item], workers: int, window: int | None = None
) -> Generator[Result, None, None]:
    """Yield `work(item)` in the order of `items`; else as `map_bounded`."""
    window = window or 3 * workers
    pending: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for item in items:
                pending.append(pool.submit(work, item))
                if len(pending) >= window:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
