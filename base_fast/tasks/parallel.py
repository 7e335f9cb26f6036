"""An ordered map over a stream with a few threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

THREADS = 2
CHUNK = 16


def map_in_order(function: Callable[[Item], Result], items: Iterable[Item], chunk: int = CHUNK) -> Iterator[Result]:
    """Yield function(item) in the order of `items`, read only a few chunks ahead.

    Image decoders release the interpreter lock, so threads suffice for photographs. Work goes out in chunks because
    handing over a single small image costs as much as decoding it; the bounded look-ahead keeps a long stream out of
    memory.
    """
    stream = iter(items)

    def results_of(some: list[Item]) -> list[Result]:
        return [function(item) for item in some]

    with ThreadPoolExecutor(THREADS) as pool:
        waiting: deque[Future[list[Result]]] = deque()
        while some := list(islice(stream, chunk)):
            waiting.append(pool.submit(results_of, some))
            if len(waiting) > 2 * THREADS:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
