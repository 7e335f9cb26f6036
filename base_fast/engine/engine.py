"""What maps tasks to processes: the protocol, its member of one process, and which engine is at work now."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol, TypeVar

from torch import Tensor

from base_fast.engine.fold import TreeMean, in_order
from base_fast.errors import InputError

T = TypeVar("T")
R = TypeVar("R")


class Engine(Protocol):
    """Processes ("ranks") that run the same program and share its work. Every rank makes the same calls in the same
    order; a task's result must be a pure function of the task. An error in a task is raised on all ranks alike.

    While a rank works at a task, `current()` is what it has to itself: nested calls stay on it (or, in a mesh, on the
    ranks that share the task).
    """

    rank: int
    world: int

    @property
    def given_up(self) -> bool:
        """Whether what its tasks are at work at is of no use any more."""
        ...

    def stop(self) -> None:
        """Have all ranks stop; safe in a signal handler."""
        ...

    def map(self, tasks: Sequence[T], function: Callable[[T], R], costs: Sequence[float] | None = None) -> list[R]:
        """function(task) of every task, in the tasks' order, on every rank. Costs, relative to each other, balance."""
        ...

    def mean(
        self, tasks: Sequence[T], function: Callable[[T], tuple[Tensor, R]], costs: Sequence[float] | None = None
    ) -> tuple[Tensor, list[R]]:
        """The mean of the tasks' vectors, of one length, as `TreeMean` has it; and what else they gave, in order."""
        ...

    def gather(self, value: R) -> list[R]:
        """The value of each rank, on every rank."""
        ...

    def first(self, function: Callable[[], R]) -> R:
        """function() of rank 0, on every rank; so are its errors."""
        ...

    def mesh(self, ranks: int) -> Engine:
        """The engine in which so many neighbouring ranks share each task."""
        ...


class Local:
    """This process alone."""

    rank = 0
    world = 1
    given_up = False

    def stop(self) -> None:
        pass

    def map(self, tasks: Sequence[T], function: Callable[[T], R], costs: Sequence[float] | None = None) -> list[R]:
        return [function(task) for task in tasks]

    def mean(
        self, tasks: Sequence[T], function: Callable[[T], tuple[Tensor, R]], costs: Sequence[float] | None = None
    ) -> tuple[Tensor, list[R]]:
        found: dict[int, R] = {}
        fold = TreeMean()
        for i in in_order(len(tasks), costs):
            vector, found[i] = function(tasks[i])
            fold.add(vector)
        return fold.mean(), [found[i] for i in range(len(tasks))]

    def gather(self, value: R) -> list[R]:
        return [value]

    def first(self, function: Callable[[], R]) -> R:
        return function()

    def mesh(self, ranks: int) -> Engine:
        if ranks != 1:
            raise InputError(
                f"ranks_per_task: got {ranks}, expected 1: there is one process (start more with torchrun)"
            )
        return self


_engines: list[Engine] = [Local()]


def current() -> Engine:
    """The engine at work: of all processes, or, inside a task, of what the task has."""
    return _engines[-1]


@contextmanager
def using(engine: Engine) -> Iterator[Engine]:
    """Inside, `engine` is the current one."""
    _engines.append(engine)
    try:
        yield engine
    finally:
        _engines.pop()


def ask_to_stop() -> bool:
    """Have all ranks stop, from a signal handler too; False where this process is the only one."""
    ranks = [engine for engine in _engines if engine.world > 1]
    for engine in ranks[:1]:
        engine.stop()
    return bool(ranks)


def abandoned() -> bool:
    """Whether the work under way is of no use any more, so that a long task should raise Interrupted."""
    return any(engine.given_up for engine in _engines)


def alone() -> AbstractContextManager[Engine]:
    """Inside, this process works by itself, whatever others do."""
    return using(Local())
