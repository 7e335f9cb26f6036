"""Processes that call one function: decoding images is more than one core can do beside the training."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Generic, TypeVar

import torch

from base_fast.errors import InputError

Item = TypeVar("Item")
Result = TypeVar("Result")

MOST = 16
SECONDS_BETWEEN_LOOKS = 2.0
# A fork has what this process has, at once; elsewhere threads of system libraries do not survive it.
METHOD = "fork" if sys.platform == "linux" else "spawn"

_function: Callable[[Any], Any] | None = None


def usable_cores() -> int:
    """Cores that this process may use, shared with the others that torchrun started on this machine; at most 16."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    beside = os.environ.get("LOCAL_WORLD_SIZE", "1")
    return min(max(cores // max(int(beside) if beside.isdecimal() else 1, 1), 1), MOST)


class Workers(Generic[Item, Result]):
    """A function in `count` processes, or, with 0, in this one; results are the same.

    Args:
        function: what to call; it goes to the processes as it is now.
        count: number of processes. They end with this object, and when this process dies in whatever way.
    """

    def __init__(self, function: Callable[[Item], Result], count: int) -> None:
        self._function, self.count = function, count
        self._pool = None
        if count > 0:
            context = multiprocessing.get_context(METHOD)
            self._pool = ProcessPoolExecutor(count, context, _begin, (function, os.getpid()))

    def submit(self, item: Item) -> Future[Result]:
        """function(item), to be done; with no processes, done now."""
        if self._pool is not None:
            try:
                return self._pool.submit(_call, item)
            except BrokenProcessPool:
                raise self._killed() from None
        future: Future[Result] = Future()
        try:
            future.set_result(self._function(item))
        except Exception as error:
            future.set_exception(error)
        return future

    def result(self, future: Future[Result]) -> Result:
        """What a call came to; raises what it raised, and InputError when a process was killed."""
        try:
            return future.result()
        except BrokenProcessPool:
            raise self._killed() from None

    def map_in_order(self, items: Iterable[Item]) -> Iterator[Result]:
        """function(item) in the order of `items`, of which a few more than there are processes are under way."""
        waiting: deque[Future[Result]] = deque()
        try:
            for item in items:
                waiting.append(self.submit(item))
                if len(waiting) > 2 * self.count:
                    yield self.result(waiting.popleft())
            while waiting:
                yield self.result(waiting.popleft())
        finally:
            for future in waiting:
                future.cancel()

    def close(self) -> None:
        """End the processes, after what they are doing."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def __enter__(self) -> Workers[Item, Result]:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _killed(self) -> InputError:
        return InputError(
            f"workers: one of {self.count} processes that decode images was killed, perhaps for want of memory; "
            "take fewer"
        )


def _begin(function: Callable[[Any], Any], parent: int) -> None:
    global _function
    _function = function
    torch.set_num_threads(1)  # the threads of the process that was forked are not here
    # Ctrl-C reaches all processes of a terminal: what to do is the first one's to say.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(SECONDS_BETWEEN_LOOKS)
    os._exit(1)


def _call(item: Any) -> Any:
    assert _function is not None, "_begin was called"
    return _function(item)
