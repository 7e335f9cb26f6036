"""Processes that call one function, a core each: what decodes images beside a training, or trains many networks."""

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
from base_fast.runs.progress import hide_progress

Item = TypeVar("Item")
Result = TypeVar("Result")

MOST = 16
SECONDS_BETWEEN_LOOKS = 0.2
# A fork has what this process has, at once; elsewhere threads of system libraries do not survive it.
METHOD = "fork" if sys.platform == "linux" else "spawn"

_function: Callable[[Any], Any] | None = None


def usable_cores() -> int:
    """Cores that this process may use, shared with the others that torchrun started on this machine; at most 16."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    beside = os.environ.get("LOCAL_WORLD_SIZE", "1")
    return min(max(cores // max(int(beside) if beside.isdecimal() else 1, 1), 1), MOST)


def nothing() -> None:
    """What a process has to do before it is given anything, by default."""


class Workers(Generic[Item, Result]):
    """A function in `count` processes, each with one thread, or, with 0, in this one; results are the same.

    Args:
        function: what to call; it goes to the processes as it is now.
        count: number of processes. They end with this object, and when this process dies in whatever way.
        begin: called in each of them first.
        method: how they are started: "fork" or "spawn". Only in spawned ones, to which function and `begin` travel by
            pickle, can PyTorch be relied on to compute.
    """

    def __init__(
        self,
        function: Callable[[Item], Result],
        count: int,
        begin: Callable[[], object] = nothing,
        method: str = METHOD,
    ) -> None:
        self._function, self.count = function, count
        self._pool = None
        if count > 0:
            context = multiprocessing.get_context(method)
            # Not an Event: one that a killed process waited for is never set.
            self._over = context.RawValue("b", 0)
            self._pool = ProcessPoolExecutor(count, context, _begin, (function, begin, os.getpid(), self._over))

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
        """End the processes, in the middle of what they are doing."""
        if self._pool is not None:
            self._over.value = 1
            self._pool.shutdown(cancel_futures=True)

    def __enter__(self) -> Workers[Item, Result]:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _killed(self) -> InputError:
        return InputError(f"workers: one of {self.count} processes was killed, perhaps for want of memory; take fewer")


def _begin(function: Callable[[Any], Any], begin: Callable[[], object], parent: int, over: Any) -> None:
    global _function
    _function = function
    hide_progress()
    torch.set_num_threads(1)  # the threads of a process that was forked are not here
    # Ctrl-C reaches all processes of a terminal: what to do is the first one's to say.
    if hasattr(os, "setsid"):
        os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with, args=(parent, over), daemon=True).start()
    begin()


def _end_with(parent: int, over: Any) -> None:
    while os.getppid() == parent and not over.value:
        time.sleep(SECONDS_BETWEEN_LOOKS)
    os._exit(1)


def _call(item: Any) -> Any:
    assert _function is not None, "_begin was called"
    return _function(item)
