"""The one loop of everything that takes steps: progress, limits, metrics, checkpoints, interruption, resumption."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from torch import Tensor

from base_fast.engine import METER, current
from base_fast.errors import Diverged, InputError, Interrupted, RankFailed
from base_fast.runs.config_files import from_dict, to_dict
from base_fast.runs.folder import RunFolder
from base_fast.runs.interruption import Interruption, interruptible
from base_fast.runs.progress import progress
from base_fast.runs.storage import digest

S = TypeVar("S")

SECONDS_BETWEEN_CHECKPOINTS = 300.0


@dataclass(frozen=True)
class Step(Generic[S]):
    """What a step comes to.

    Attributes:
        state: after it.
        row: for metrics.jsonl, if there is something to say.
        number: the row's "step"; the number of steps done unless given. Rows come in increasing order of it.
        shown: what stands beside the progress.
        stopped: why there is no further step, if the process itself says so (the limits of the loop aside).
    """

    state: S
    row: Mapping[str, Any] | None = None
    number: int | None = None
    shown: Mapping[str, object] = field(default_factory=dict)
    stopped: str | None = None


class Resumable(Protocol[S]):
    """A computation in steps: a state machine that knows of no folder, file, signal or terminal.

    `start` and `step` are pure functions of the state (which `step` may use up) and of what the clock says; whatever
    is random comes from keys. So a process that was killed resumes to the same bits.
    """

    def start(self, clock: Clock) -> Step[S]:
        """The state before the first step; a row if there is something to measure there."""
        ...

    def step(self, state: S, clock: Clock) -> Step[S]:
        """One step. Raises Diverged when a number that matters is NaN or infinite.

        A step that has a loop inside passes on that loop's Interrupted, and leaves `state` as it was.
        """
        ...

    def pack(self, state: S) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The state as tensors, all of them finite, and JSON."""
        ...

    def unpack(self, tensors: dict[str, Tensor], header: dict[str, Any]) -> S:
        """The inverse of `pack`. Raises InputError for what this process would not have packed (see `matching`)."""
        ...


@dataclass(frozen=True)
class Finished(Generic[S]):
    """A process at its end: the state, steps done, wall-clock seconds over all resumptions, and what stopped it.

    stopped: "steps" or "seconds" for the loop's limits, else what the process said.
    """

    state: S
    steps: int
    seconds: float
    stopped: str


class Clock:
    """How far the loop is, for a step to look at.

    Attributes:
        total: steps to take in all, or None.
        done: steps done before the one under way.
    """

    def __init__(self, total: int | None = None, budget: float | None = None) -> None:
        self.total, self.done = total, 0
        self._budget = budget
        self._began = time.monotonic()
        self._agreed: float | None = None
        self._limit: str | None = None
        self._decided = False

    @property
    def seconds(self) -> float:
        """Wall-clock seconds of the loop, over all resumptions; of several processes, as rank 0 has them."""
        return time.monotonic() - self._began if self._agreed is None else self._agreed

    def agree(self, seconds: float) -> None:
        """Until this is called again, so many seconds have passed: what depends on them is alike on all processes."""
        self._agreed = seconds

    @property
    def here(self) -> float:
        """Wall-clock seconds as this process has them."""
        return time.monotonic() - self._began

    def limit(self) -> str | None:
        """The limit that the step under way meets, so that it is the last one: "steps", "seconds" or None.

        Decided when first asked; until the next step it stays so, and the loop acts on it.
        """
        if not self._decided:
            self._decided = True
            if self.total is not None and self.done + 1 >= self.total:
                self._limit = "steps"
            elif self._budget is not None and self.seconds >= self._budget:
                self._limit = "seconds"
        return self._limit

    def go_on(self, done: int, seconds: float) -> None:
        """Count on from where a checkpoint stands."""
        self.done = done
        self._began = time.monotonic() - seconds
        if self._agreed is not None:
            self._agreed = seconds

    def tick(self) -> None:
        """The step under way is done."""
        self.done += 1
        self._decided, self._limit = False, None


def run_loop(
    process: Resumable[S],
    *,
    name: str,
    unit: str = "step",
    total: int | None = None,
    seconds: float | None = None,
    run: RunFolder | None = None,
    checkpoint_every: int = 50,
    checkpoint_seconds: float = SECONDS_BETWEEN_CHECKPOINTS,
) -> Finished[S]:
    """Take steps until a limit is met or the process stops; with a checkpoint in `run`, from there on.

    Of several processes (`engine`) all take the same steps, and rank 0 writes; that their states are equal is checked
    every `checkpoint_every` steps. All stop together, whichever was asked to.

    A checkpoint is written at intervals in steps or seconds, whichever comes first, at an interruption and at the end.
    What was logged after the checkpoint that a run resumes from is dropped, and comes again.

    Args:
        name: of the phase in the metrics, of the checkpoint, and in messages.
        unit: what a step is called, in the singular.
        total: steps to take in all; None if something else ends the loop.
        seconds: wall-clock seconds to spend in all, over all resumptions.
        run: where to log and keep checkpoints; None keeps nothing.

    Raises:
        Diverged: a step said so, or a tensor is NaN or infinite when a checkpoint is due. The checkpoint before stays.
        Interrupted: SIGINT or SIGTERM; with a run the state is saved, and the same call continues it.
        InputError: the checkpoint does not fit the process, or is damaged.
        RankFailed: another process did; the state of rank 0 is saved.
    """
    return _Loop(process, name, unit, Clock(total, seconds), run).finish(checkpoint_every, checkpoint_seconds)


@dataclass(frozen=True)
class _Position:
    """Where a loop stands: what its checkpoint says beside the state."""

    steps: int
    seconds: float
    logged: int
    """"step" of the last row, or −1."""
    stopped: str | None
    rows: int = 0
    """Rows logged so far."""


class _Loop(Generic[S]):
    def __init__(self, process: Resumable[S], name: str, unit: str, clock: Clock, run: RunFolder | None) -> None:
        self.process, self.name, self.unit, self.clock, self.run = process, name, unit, clock, run
        self.logged, self.rows = -1, 0
        self.stopped: str | None = None
        self.saved: int | None = None
        self.engine = current()

    def finish(self, every: int, seconds: float) -> Finished[S]:
        clock = self.clock
        with interruptible() as interruption:
            if self._agree(interruption):
                raise Interrupted(f"stopped before {self.name}")
            state = self._restored()
            self._check_equal(state)
            METER.since()
            written = time.monotonic()
            with progress(self.name, clock.total, start=clock.done) as bar:
                while self.stopped is None:
                    try:
                        if self._agree(interruption):
                            raise self._interrupted(state)
                        step = self._guarded(self.process.step, state, clock)
                    except Interrupted:  # of a loop inside the step, which is begun again
                        raise self._interrupted(state) from None
                    except RankFailed as error:
                        raise self._forsaken(state, error) from None
                    state = step.state
                    self.stopped = clock.limit() or step.stopped
                    clock.tick()
                    self._log(step)
                    bar.advance(1, **step.shown)
                    if self.stopped is not None or clock.done % every == 0:
                        self._check_equal(state)
                    if self.stopped is not None or clock.done % every == 0 or time.monotonic() - written >= seconds:
                        self._save(state)
                        written = time.monotonic()
        return Finished(state, clock.done, clock.seconds, self.stopped)

    def _agree(self, interruption: Interruption) -> bool:
        """Whether to stop: if any rank was asked to. Sets the clock of all by that of rank 0."""
        if self.engine.world == 1:
            return interruption.requested
        told = self.engine.gather((interruption.requested, self.clock.here, f"{self.name} {self.clock.done}"))
        self.clock.agree(told[0][1])
        places = [place for _, _, place in told]
        if len(set(places)) > 1:
            raise RankFailed(f"the ranks do different things: {', '.join(places)}; start all with the same command")
        return any(requested for requested, _, _ in told)

    def _check_equal(self, state: S) -> None:
        """All ranks hold the same bits, or a fault of memory, of a library or of a program has made them differ."""
        if self.engine.world == 1:
            return
        told = self.engine.gather(digest(self.process.pack(state)[0]))
        other = [rank for rank, one in enumerate(told) if one != told[0]]
        if other:
            raise RankFailed(
                f"{self.name}: after {self._count(self.clock.done)} rank {other[0]} holds another state than rank 0 "
                f"({told[other[0]][:8]}, not {told[0][:8]}); start all with the same program, data and threads; "
                f"{self._last()}"
            )

    def _restored(self) -> S:
        """The state to go on from: the checkpoint's, or a fresh one."""
        run = self.run
        found = None if run is None else run.load_checkpoint(self.name)
        if run is None or found is None:
            if run is not None:
                run.truncate(self.name, -1)
            step = self._guarded(self.process.start, self.clock)
            self.stopped = step.stopped
            self._log(step)
            return step.state
        tensors, header = found
        try:
            if not isinstance(own := header.pop("process", None), dict):
                raise InputError("process: missing; it was written by another version")
            position = from_dict(_Position, header)
            self._check(position)
            state = self.process.unpack(tensors, own)
        except InputError as error:
            raise InputError(f"checkpoint {self.name}: {error}") from None
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise InputError(f"checkpoint {self.name}: its header is malformed ({error!r})") from None
        self.stopped, self.logged, self.saved = position.stopped, position.logged, position.steps
        if self.stopped == "steps" and (self.clock.total is None or position.steps < self.clock.total):
            self.stopped = None  # it may take more steps now
        self.clock.go_on(position.steps, position.seconds)
        self.rows = position.rows
        run.truncate(self.name, self.logged)
        lost = self.rows - len(run.rows(self.name))
        if lost > 0:
            warnings.warn(
                f"{run.path}: metrics.jsonl lacks {lost} of {self.rows} rows of {self.name} up to step {self.logged}, "
                "which the checkpoint has seen; the result is not affected",
                stacklevel=4,
            )
        return state

    def _check(self, position: _Position) -> None:
        total = self.clock.total
        if position.steps < 0 or (total is not None and position.steps > total):
            raise InputError(f"steps: got {position.steps}, expected 0 to {'any number' if total is None else total}")
        if position.logged < -1 or position.rows < 0 or not 0 <= position.seconds < float("inf"):
            told = f"logged {position.logged}, rows {position.rows}, seconds {position.seconds}"
            raise InputError(f"got {told}, expected finite numbers, none of them negative")

    def _guarded(self, work: Any, *arguments: Any) -> Step[S]:
        try:
            step: Step[S] = work(*arguments)
        except Diverged as error:
            raise self._diverged(str(error)) from None
        return step

    def _log(self, step: Step[S]) -> None:
        if step.row is not None:
            self.logged = self.clock.done if step.number is None else step.number
            self.rows += 1
            if self.run is not None:
                times = {"times": METER.since()} if self.engine.world > 1 and "times" not in step.row else {}
                self.run.log(self.name, self.logged, **step.row, **times)

    def _save(self, state: S) -> None:
        """Write a checkpoint, unless there is nothing new; lost numbers are found here, and are not written."""
        if self.saved == self.clock.done:
            return
        tensors, header = self.process.pack(state)
        for name, x in tensors.items():
            if not x.isfinite().all():
                raise self._diverged(f"{name} holds NaN or infinity")
        if self.run is None:
            return
        position = _Position(self.clock.done, self.clock.seconds, self.logged, self.stopped, self.rows)
        self.run.save_checkpoint(self.name, tensors, {**to_dict(position), "process": header})
        self.saved = self.clock.done

    def _diverged(self, what: str) -> Diverged:
        return Diverged(f"{self.name}: after {self._count(self.clock.done)}: {what}; {self._last()}")

    def _last(self) -> str:
        if self.saved is None:
            return "no checkpoint was written yet"
        return f"the checkpoint after {self._count(self.saved)} is kept"

    def _forsaken(self, state: S, error: RankFailed) -> RankFailed:
        """Another rank is gone, and the state is still here: rank 0 saves it."""
        if self.run is not None and not self.run.follows:
            self._save(state)
        return RankFailed(f"{error}; {self.name}: {self._last()}")

    def _interrupted(self, state: S) -> Interrupted:
        self._save(state)
        unsaved = "" if self.run is not None else "; nothing was saved, for there is no run folder"
        return Interrupted(f"{self.name}: stopped after {self._count(self.clock.done)}{unsaved}")

    def _count(self, done: int) -> str:
        total = self.clock.total
        if total is not None:
            return f"{done} of {total} {self.unit}{'' if total == 1 else 's'}"
        return f"{done} {self.unit}{'' if done == 1 else 's'}"


def matching(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A checkpoint's tensors, on the devices of those that the present process packs at its start.

    Raises:
        InputError: they are not the same, or of another shape or dtype.
    """
    for key in sorted(found.keys() | expected.keys()):
        was, now = (f"{x[key].dtype} {tuple(x[key].shape)}" if key in x else "nothing" for x in (found, expected))
        if was != now:
            raise InputError(f"got {was} for {key}, expected {now}; it was written under another configuration")
    # Copies: what is read from a file may be aligned differently, and sums over it then differ in the last bit.
    return {key: x.to(expected[key].device, copy=True) for key, x in found.items()}
