"""The one loop of everything that takes steps: progress, limits, metrics, checkpoints, interruption, resumption."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from torch import Tensor

from base_fast.errors import Diverged, InputError, Interrupted
from base_fast.runs.config_files import from_dict, to_dict
from base_fast.runs.folder import RunFolder
from base_fast.runs.interruption import Interruption, interruptible
from base_fast.runs.progress import progress

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
        self._limit: str | None = None
        self._decided = False

    @property
    def seconds(self) -> float:
        """Wall-clock seconds of the loop, over all resumptions."""
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

    def finish(self, every: int, seconds: float) -> Finished[S]:
        clock = self.clock
        with interruptible() as interruption:
            state = self._restored(interruption)
            written = time.monotonic()
            with progress(self.name, clock.total, start=clock.done) as bar:
                while self.stopped is None:
                    if interruption.requested:
                        raise self._interrupted(state)
                    try:
                        step = self._guarded(self.process.step, state, clock)
                    except Interrupted:  # of a loop inside the step, which is begun again
                        raise self._interrupted(state) from None
                    state = step.state
                    self.stopped = clock.limit() or step.stopped
                    clock.tick()
                    self._log(step)
                    bar.advance(1, **step.shown)
                    if self.stopped is not None or clock.done % every == 0 or time.monotonic() - written >= seconds:
                        self._save(state)
                        written = time.monotonic()
        return Finished(state, clock.done, clock.seconds, self.stopped)

    def _restored(self, interruption: Interruption) -> S:
        """The state to go on from: the checkpoint's, or a fresh one."""
        if interruption.requested:
            raise Interrupted(f"stopped before {self.name}")
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
                self.run.log(self.name, self.logged, **step.row)

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
        last = "no checkpoint was written yet"
        if self.saved is not None:
            last = f"the checkpoint after {self._count(self.saved)} is kept"
        return Diverged(f"{self.name}: after {self._count(self.clock.done)}: {what}; {last}")

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
