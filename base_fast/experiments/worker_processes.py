"""Pieces of work in processes of their own, whose results come in order: what a core each is worth to Python."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Any, Generic, TypeVar

import torch

from base_fast.errors import Diverged, Interrupted
from base_fast.runs import interruptible
from base_fast.runs.progress import hide_progress

Result = TypeVar("Result")

AHEAD = 2
"""Pieces that are handed out for each process before their turn."""
SECONDS_BETWEEN_LOOKS = 0.2


def nothing() -> None:
    """What a process has to do before it opens anything, by default."""


class Workers(Generic[Result]):
    """`open_function(argument)(number)` for numbers in order, several at a time; a context manager.

    A worker opens its function once, in one thread. With a single process the work is done here, in this thread. The
    results do not depend on how many there are where the function is pure. Workers are told nothing at Ctrl-C: they
    end with their pipe, after the piece under way, also when this process is killed.

    Args:
        open_function, argument: what to call with what; both travel by pickle.
        total: numbers are below it.
        processes: how many.
        begin: called in each worker first.
    """

    def __init__(
        self,
        open_function: Callable[[Any], Callable[[int], Result]],
        argument: object,
        total: int,
        processes: int,
        begin: Callable[[], object] = nothing,
    ) -> None:
        self._open = open_function
        self._argument, self._begin = argument, begin
        self._total, self._processes = total, processes
        self._here: Callable[[int], Result] | None = None
        self._pipes: list[Connection] = []
        self._queued: dict[Connection, list[int]] = {}
        self._next = 0
        self._found: dict[int, tuple[bool, Any]] = {}

    def __enter__(self) -> Workers[Result]:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for pipe in self._pipes:
            pipe.close()
        self._pipes.clear()

    def result(self, number: int) -> Result:
        """The result of a number; they are asked for one after another, from any first one.

        Raises:
            Interrupted: SIGINT or SIGTERM came while workers were waited for.
            Diverged: a worker ended, as one does that the system killed for its memory.
            Exception: whatever the function raised.
        """
        if self._processes == 1:
            if self._here is None:
                self._here = self._open(self._argument)
            return self._here(number)
        if not self._pipes:
            self._start(number)
        with interruptible() as interruption:
            while number not in self._found:
                if interruption.requested:
                    raise Interrupted("stopped while workers were waited for")
                self._receive()
        good, found = self._found.pop(number)
        if not good:
            raise found
        return found

    def _receive(self) -> None:
        """Hand out what there is to do, and take what comes within a moment."""
        self._hand_out()
        for pipe in wait(self._pipes, SECONDS_BETWEEN_LOOKS):
            assert isinstance(pipe, Connection)
            try:
                reply = pipe.recv()
            except (EOFError, OSError):
                raise Diverged("a worker process ended before its work did; was there memory for all?") from None
            self._found[self._queued[pipe].pop(0)] = reply

    def _start(self, first: int) -> None:
        self._next = first
        # Not forked: threads of PyTorch do not survive it.
        context = multiprocessing.get_context("spawn")
        for _ in range(self._processes):
            here, there = context.Pipe()
            arguments = (there, self._open, self._argument, self._begin)
            context.Process(target=_serve, args=arguments, daemon=True).start()
            there.close()
            self._pipes.append(here)
            self._queued[here] = []

    def _hand_out(self) -> None:
        for place in range(AHEAD):
            for pipe in self._pipes:
                if len(self._queued[pipe]) <= place and self._next < self._total:
                    pipe.send(self._next)
                    self._queued[pipe].append(self._next)
                    self._next += 1


def _serve(
    pipe: Connection, open_function: Callable[[Any], Any], argument: object, begin: Callable[[], object]
) -> None:
    if hasattr(os, "setsid"):
        os.setsid()  # Ctrl-C reaches the process that waits for the results alone
    hide_progress()
    torch.set_num_threads(1)
    begin()
    function: Callable[[int], Any] | Exception
    try:
        function = open_function(argument)
    except Exception as error:
        function = error
    while True:
        try:
            number = pipe.recv()
            pipe.send(_answer(function, number))
        except (EOFError, BrokenPipeError, ConnectionResetError):
            return


def _answer(function: Callable[[int], Any] | Exception, number: int) -> tuple[bool, Any]:
    if isinstance(function, Exception):
        return False, function
    try:
        return True, function(number)
    except Exception as error:
        return False, error
