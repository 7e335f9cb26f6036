"""Independent pieces of work on all cores: a thread each, in which PyTorch uses no further ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

from base_fast.engine import current

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_on_cores(function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """function(item) for every item, in order, as many at a time as PyTorch has threads, on each of several processes.

    Small networks gain little from several threads inside an operation and much from one network to a core: kernels
    release the interpreter's lock. The result does not depend on the number of threads where an item's does not.
    Between processes results go as pickles. The first exception is raised, after those under way have ended; the
    others are not begun.
    """
    engine = current()
    if engine.world > 1:
        shares = engine.map(range(engine.world), lambda r: map_on_cores(function, items[r :: engine.world]))
        return [shares[i % engine.world][i // engine.world] for i in range(len(items))]
    threads = torch.get_num_threads()
    if threads == 1 or len(items) < 2:
        return [function(item) for item in items]

    def alone(item: Item) -> Result:
        torch.set_num_threads(1)  # of this thread
        return function(item)

    with ThreadPoolExecutor(min(threads, len(items))) as pool:
        waiting = [pool.submit(alone, item) for item in items]
        try:
            return [future.result() for future in waiting]
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
        finally:
            torch.set_num_threads(threads)


@contextmanager
def one_thread() -> Iterator[None]:
    """For tensors of some thirty numbers: several threads would spend their time waiting for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
