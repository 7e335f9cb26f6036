"""The engine of many processes: torch.distributed carries bytes between them, and adds nothing."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from base_fast.engine.engine import Engine, Local, using
from base_fast.engine.fold import TreeMean, in_order
from base_fast.engine.meter import Kind, metered
from base_fast.engine.watch import Watch, told
from base_fast.errors import Diverged, InputError, Interrupted, RankFailed

T = TypeVar("T")
R = TypeVar("R")

# Bytes of a value that goes in one exchange; longer ones take a second.
SMALL = 512
# Seconds that a rank waits for one that failed or was asked to stop to say so in order, before it ends by itself.
GRACE = 5.0
# Errors that are a user's to act on, and arrive as what they are.
TELLING = (InputError, Diverged, Interrupted, RankFailed, MemoryError, OSError)


class Distributed:
    """Ranks of torch.distributed: gloo between CPUs, NCCL between GPUs.

    Which rank does which task is a pure function of its number, of the tasks' costs and of how many ranks there are.
    Vectors are sent slice by slice to the rank that adds that slice (`all_to_all`), which adds them in the order of
    `TreeMean`; `all_gather` returns the whole. A rank holds one task's vector, one slice of W tasks, and log2(C) + 1
    partial sums of its slice, whatever C is.

    Values other than vectors go as pickles, between processes that one user started from one program.

    Args:
        group: the process group.
        ranks: its members, as all of the run count them.
        watch: knows who is alive.
        timeout: seconds to wait for the others in an exchange.
        inside: the engine while a task is at work.
    """

    def __init__(
        self, group: Any, ranks: Sequence[int], watch: Watch, timeout: float, inside: Engine | None = None
    ) -> None:
        self.ranks = tuple(ranks)
        self.rank, self.world = self.ranks.index(watch.rank), len(self.ranks)
        self.watch, self.timeout, self.inside = watch, timeout, inside or Local()
        self._group = group
        self._name = ",".join(map(str, self.ranks))
        self._meshes: dict[int, Engine] = {}

    def stop(self) -> None:
        self.watch.ask_to_stop()

    def map(self, tasks: Sequence[T], function: Callable[[T], R], costs: Sequence[float] | None = None) -> list[R]:
        order = in_order(len(tasks), costs)
        mine = order[self.rank :: self.world]
        found, error = self._attempt(partial(_results, function, tasks, mine))
        everything: dict[int, R] = {}
        for rank, results in enumerate(self._agree(found, error)):
            everything |= zip(order[rank :: self.world], results or (), strict=True)
        return [everything[i] for i in range(len(tasks))]

    def mean(
        self, tasks: Sequence[T], function: Callable[[T], tuple[Tensor, R]], costs: Sequence[float] | None = None
    ) -> tuple[Tensor, list[R]]:
        order, fold = in_order(len(tasks), costs), TreeMean()
        records: dict[int, Any] = {}
        like = torch.empty(0, device="cpu")
        for start in range(0, len(order), self.world):
            # One task for each rank, of about the same cost; in the last round there may be fewer.
            own = order[start : start + self.world]
            mine = own[self.rank : self.rank + 1]
            found, error = self._attempt(partial(_results, function, tasks, mine))
            vector, record = found[0] if found else (None, None)
            shape = None if vector is None else (vector.numel(), vector.dtype, vector.device.type)
            told_of = self._agree((shape, record), error)
            size, dtype, device = told_of[0][0] or (0, torch.float32, "cpu")
            like = torch.empty(size, dtype=dtype, device=device)
            records |= {i: told_of[r][1] for r, i in enumerate(own)}
            for x in self._slices(vector, len(own), like):
                fold.add(x)
        return self._whole(fold.mean(), like), [records[i] for i in range(len(tasks))]

    def gather(self, value: R) -> list[R]:
        return self._agree(value, None)

    def first(self, function: Callable[[], R]) -> R:
        found, error = self._attempt(function) if self.rank == 0 else (None, None)
        data = pickle.dumps((found, _portable(error))) if self.rank == 0 else b""
        head = _with_length(data)
        self._wait(dist.broadcast(head, self.ranks[0], group=self._group, async_op=True), "waiting")
        length = _length(head)
        if length <= SMALL - 8:
            data = bytes(head[8 : 8 + length].tolist())
        else:
            body = (
                torch.frombuffer(bytearray(data), dtype=torch.uint8)
                if data
                else torch.empty(length, dtype=torch.uint8, device="cpu")
            )
            self._wait(dist.broadcast(body, self.ranks[0], group=self._group, async_op=True), "communication")
            data = body.numpy().tobytes()
        if error is not None:
            raise error
        value, failed = pickle.loads(data)
        if failed is not None:
            raise failed
        return value

    def mesh(self, ranks: int) -> Engine:
        if ranks == 1:
            return self
        if ranks < 1 or self.world % ranks:
            raise InputError(f"ranks_per_task: got {ranks}, expected a divisor of the number of ranks, {self.world}")
        if ranks not in self._meshes:
            rows = [self.ranks[i : i + ranks] for i in range(0, self.world, ranks)]
            columns = list(zip(*rows, strict=True))
            # Every rank makes every group, in the same order: so torch.distributed wants it.
            groups = {own: dist.new_group(list(own)) for own in [*rows, *columns]}
            here = self.watch.rank
            row, column = (next(own for own in lines if here in own) for lines in (rows, columns))
            within = Distributed(groups[row], row, self.watch, self.timeout)
            if len(column) == 1:
                self._meshes[ranks] = OneTaskAtATime(self, within)
            else:
                self._meshes[ranks] = Distributed(groups[column], column, self.watch, self.timeout, within)
        return self._meshes[ranks]

    @property
    def given_up(self) -> bool:
        """Whether what its tasks are at work at is of no use any more: a rank failed in it, or was asked to stop."""
        return self.watch.stopping or self.watch.given_up == self._place

    @property
    def _place(self) -> str:
        return f"{self._name}:{self.watch.counts.get(self._name, 0)}"

    def _attempt(self, work: Callable[[], R]) -> tuple[R | None, BaseException | None]:
        """What work of this rank comes to; an error is kept until all ranks know of it."""
        try:
            with using(self.inside):
                return work(), None
        except Exception as error:
            if not isinstance(error, Interrupted):
                self.watch.give_up(self._place)
            return None, error

    def _agree(self, value: R | None, error: BaseException | None) -> list[R]:
        """The value of each rank, or the error of one of them, which is then raised on all."""
        everything = [pickle.loads(data) for data in self._exchanged(pickle.dumps((value, _portable(error))))]
        failed = [(rank, found) for rank, (_, found) in enumerate(everything) if found is not None]
        if failed:
            # A rank that stopped is no reason where another one failed.
            rank, found = min(failed, key=lambda own: (isinstance(own[1], Interrupted), own[0]))
            if rank == self.rank:
                assert error is not None
                raise error
            raise (
                found if isinstance(found, (Interrupted, OSError)) else type(found)(f"rank {self.ranks[rank]}: {found}")
            )
        return [own for own, _ in everything]

    def _exchanged(self, data: bytes) -> list[bytes]:
        """The bytes of each rank, on every rank."""
        heads = self._all_gather(_with_length(data), "waiting")
        lengths = [_length(head) for head in heads]
        if max(lengths) <= SMALL - 8:
            return [bytes(head[8 : 8 + n].tolist()) for head, n in zip(heads, lengths, strict=True)]
        body = torch.zeros(max(lengths), dtype=torch.uint8, device="cpu")
        body[: len(data)] = torch.frombuffer(bytearray(data), dtype=torch.uint8)
        bodies = self._all_gather(body, "communication")
        return [whole[:n].numpy().tobytes() for whole, n in zip(bodies, lengths, strict=True)]

    def _sizes(self, length: int) -> list[int]:
        """How much of a vector each rank adds: equal parts, the last ones shorter."""
        part = -(-length // self.world)
        return [min(part, max(0, length - r * part)) for r in range(self.world)]

    def _slices(self, vector: Tensor | None, senders: int, like: Tensor) -> list[Tensor]:
        """This rank's slice of the vectors of the first `senders` ranks."""
        sizes = self._sizes(like.numel())
        own = sizes[self.rank]
        sent = like.new_empty(0) if vector is None else vector.detach().contiguous()
        outgoing = [0] * self.world if vector is None else sizes
        incoming = [own if r < senders else 0 for r in range(self.world)]
        found = like.new_empty(own * senders)
        work = dist.all_to_all_single(found, sent, incoming, outgoing, group=self._group, async_op=True)
        self._wait(work, "communication")
        return list(found.split(own)) if own else [found] * senders

    def _whole(self, own: Tensor, like: Tensor) -> Tensor:
        """The vector of which each rank has its slice."""
        sizes = self._sizes(like.numel())
        padded = like.new_zeros(sizes[0])
        padded[: own.numel()] = own
        parts = self._all_gather(padded, "communication")
        return torch.cat([part[:n] for part, n in zip(parts, sizes, strict=True)])

    def _all_gather(self, x: Tensor, kind: Kind) -> list[Tensor]:
        parts = [torch.empty_like(x) for _ in range(self.world)]
        self._wait(dist.all_gather(parts, x, group=self._group, async_op=True), kind)
        return parts

    def _wait(self, work: Any, kind: Kind) -> None:
        """Wait for an exchange, but not for ranks that will not come: this is where all faults of others show."""
        self.watch.arrive(self._name)
        began, pause = time.monotonic(), 2e-5
        with metered(kind):
            try:
                while not work.is_completed():
                    time.sleep(pause)
                    # Soon after it began it may be over at any moment; later, nobody needs to know so exactly.
                    pause = min(pause * 1.2, 2e-3)
                    now = time.monotonic()
                    failure = self.watch.failure
                    # Whoever is silent will not say so in order.
                    if failure and (failure.silent or now - max(began, self.watch.failed_at) > GRACE):
                        raise failure.error()
                    if self.watch.stopping and now - max(began, self.watch.stopping_at) > GRACE:
                        raise Interrupted("stopped while other ranks were at work")
                    if now - began > self.timeout:
                        raise self._late()
                work.wait()
            except RankFailed:
                raise
            except RuntimeError as error:
                raise self._lost(error) from None

    def _late(self) -> RankFailed:
        silent = self.watch.silent(self.ranks)
        if silent:
            what = "gave no sign of life: it was stopped, or its machine is lost"
            return self._end(f"{told(silent)} did not come within {self.timeout:.0f} s, and {what}", silent)
        late = self.watch.behind(self.ranks, self._name)
        what = "it hangs, or needs longer for a step (BASE_FAST_TIMEOUT, in seconds)"
        return self._end(f"{told(late or self.ranks)} did not come within {self.timeout:.0f} s: {what}")

    def _lost(self, error: RuntimeError) -> RankFailed:
        """A connection broke: whoever is silent now was at its other end, unless somebody told why."""
        silent = self.watch.silent(self.ranks)
        failure = self.watch.heard()
        if failure is not None:
            return failure.error()
        if silent:
            return self._end(
                f"{told(silent)} died: killed, or out of memory (the launcher says by which signal)", silent
            )
        left = self.watch.left(self.ranks)
        if left:
            return self._end(f"{told(left)} ended before the others", left)
        return self._end(f"the connection between ranks broke: {' '.join(str(error).split())[:200]}")

    def _end(self, text: str, silent: Sequence[int] = ()) -> RankFailed:
        return self.watch.fail(text, silent).error()


class OneTaskAtATime(Local):
    """A mesh in which all ranks share each task, one after the other."""

    def __init__(self, whole: Distributed, within: Distributed) -> None:
        self.inside, self._whole = within, whole
        self.rank, self.world = 0, 1

    def map(self, tasks: Sequence[T], function: Callable[[T], R], costs: Sequence[float] | None = None) -> list[R]:
        with using(self.inside):
            return super().map(tasks, function, costs)

    def mean(
        self, tasks: Sequence[T], function: Callable[[T], tuple[Tensor, R]], costs: Sequence[float] | None = None
    ) -> tuple[Tensor, list[R]]:
        with using(self.inside):
            return super().mean(tasks, function, costs)


def _results(function: Callable[[T], R], tasks: Sequence[T], numbers: Sequence[int]) -> list[R]:
    return [function(tasks[i]) for i in numbers]


def _portable(error: BaseException | None) -> BaseException | None:
    """An error as other ranks can raise it: with its message alone."""
    if error is None:
        return None
    if isinstance(error, OSError):
        return OSError(error.errno, error.strerror, error.filename) if error.errno else OSError(str(error))
    kind = next((known for known in TELLING if isinstance(error, known)), None)
    return RankFailed(f"{type(error).__name__}: {error}") if kind is None else kind(str(error))


def _with_length(data: bytes) -> Tensor:
    """SMALL bytes: the length of the data, and the data if they fit."""
    head = bytearray(SMALL)
    head[:8] = len(data).to_bytes(8, "little")
    if len(data) <= SMALL - 8:
        head[8 : 8 + len(data)] = data
    return torch.frombuffer(head, dtype=torch.uint8)


def _length(head: Tensor) -> int:
    return int.from_bytes(bytes(head[:8].tolist()), "little")
