"""The one loop: what it logs, saves, says, and how it resumes."""

from __future__ import annotations

import itertools
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from base_fast.errors import Diverged, InputError, Interrupted
from base_fast.runs import Clock, Finished, RunFolder, Step, matching, run_loop

MODULE = sys.modules[run_loop.__module__]


@dataclass(frozen=True)
class Config:
    pass


@dataclass(frozen=True)
class State:
    step: int
    x: Tensor


@dataclass
class Walk:
    """x ← 3x + step; measures itself at the start, at every second step and at the last."""

    act: Callable[[State], None] = lambda state: None
    settles: int | None = None
    taken: int = 0

    def start(self, clock: Clock) -> Step[State]:
        return Step(State(0, torch.ones(2, dtype=torch.float64)), {"x": 1.0})

    def step(self, state: State, clock: Clock) -> Step[State]:
        self.taken += 1
        self.act(state)
        after = State(state.step + 1, 3 * state.x + state.step)
        last = clock.limit() or (after.step == self.settles and "settled")
        row = {"x": after.x[0].item(), "last": bool(last)} if last or after.step % 2 == 0 else None
        return Step(after, row, stopped="settled" if last == "settled" else None)

    def pack(self, state: State) -> tuple[dict[str, Tensor], dict[str, Any]]:
        return {"x": state.x}, {"step": state.step}

    def unpack(self, tensors: dict[str, Tensor], header: dict[str, Any]) -> State:
        fresh = self.pack(self.start(Clock()).state)[0]
        return State(header["step"], matching(tensors, fresh)["x"])


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[RunFolder]:
    with RunFolder.create(tmp_path / "run", "walk", Config()) as folder:
        yield folder


def at(step: int, action: Callable[[], object]) -> Callable[[State], None]:
    return lambda state: action() if state.step == step else None  # type: ignore[func-returns-value]


def press(number: int) -> Callable[[], None]:
    return lambda: signal.raise_signal(number)


def crash() -> None:
    raise ZeroDivisionError


def walk(process: Walk, run: RunFolder | None = None, **options: Any) -> Finished[State]:
    return run_loop(process, **{"name": "walk", "total": 7, "run": run, "checkpoint_every": 3, **options})


def untimed(run: RunFolder) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k != "time"} for row in run.rows()]


def test_steps_rows_and_the_checkpoint_at_the_end(folder: RunFolder) -> None:
    finished = walk(Walk(), folder)
    assert (finished.steps, finished.stopped, finished.state.step) == (7, "steps", 7)
    assert torch.equal(finished.state.x, walk(Walk()).state.x)
    assert [(row["step"], row.get("last")) for row in folder.rows("walk")] == [
        (0, None), (2, False), (4, False), (6, False), (7, True),
    ]  # fmt: skip
    found = folder.load_checkpoint("walk")
    assert found is not None
    assert {**found[1], "seconds": 0} == {
        "steps": 7, "seconds": 0, "logged": 7, "stopped": "steps", "rows": 5, "process": {"step": 7},
    }  # fmt: skip
    rows = folder.rows()
    again = Walk()
    assert torch.equal(walk(again, folder).state.x, finished.state.x)
    assert again.taken == 0
    assert folder.rows() == rows


def test_a_process_may_number_its_rows(folder: RunFolder) -> None:
    class FromZero(Walk):
        def start(self, clock: Clock) -> Step[State]:
            return replace(super().start(clock), row=None)

        def step(self, state: State, clock: Clock) -> Step[State]:
            return replace(super().step(state, clock), row={}, number=state.step)

    with pytest.raises(Interrupted):
        walk(FromZero(at(4, press(signal.SIGINT))), folder)
    walk(FromZero(), folder)
    assert [row["step"] for row in folder.rows()] == [0, 1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("step", [0, 2, 5])
def test_a_signal_saves_and_the_same_call_goes_on(folder: RunFolder, tmp_path: Path, number: int, step: int) -> None:
    with pytest.raises(Interrupted, match=f"^walk: stopped after {step + 1} of 7 steps$"):
        walk(Walk(at(step, press(number))), folder)
    resumed = Walk()
    finished = walk(resumed, folder)
    assert resumed.taken == 7 - step - 1
    with RunFolder.create(tmp_path / "whole", "walk", Config()) as whole:
        assert torch.equal(walk(Walk(), whole).state.x, finished.state.x)
        assert untimed(whole) == untimed(folder)


def test_a_signal_during_the_last_step_lets_it_finish() -> None:
    assert walk(Walk(at(6, press(signal.SIGINT)))).steps == 7


def test_an_interruption_of_the_work_before_stops_the_loop_at_once(folder: RunFolder) -> None:
    process = Walk()
    with MODULE.interruptible():
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(Interrupted, match="^stopped before walk$"):
            walk(process, folder)
    assert process.taken == 0
    assert walk(Walk(), folder).steps == 7


def test_a_loop_inside_a_step_is_left_and_its_step_begun_again(folder: RunFolder) -> None:
    class Outer(Walk):
        def step(self, state: State, clock: Clock) -> Step[State]:
            inner = Walk(at(1, press(signal.SIGINT))) if state.step == 4 and self.taken == 4 else Walk()
            walk(inner, name="inner")
            return super().step(state, clock)

    with pytest.raises(Interrupted, match="^walk: stopped after 4 of 7 steps$"):
        walk(Outer(), folder)
    assert torch.equal(walk(Outer(), folder).state.x, walk(Walk()).state.x)


def test_without_a_folder_nothing_is_saved_and_it_says_so() -> None:
    with pytest.raises(Interrupted, match="after 1 of 7 steps; nothing was saved, for there is no run folder$"):
        walk(Walk(at(0, press(signal.SIGINT))))


@pytest.mark.parametrize("step", [0, 3, 4])
def test_a_crash_goes_back_to_the_checkpoint(folder: RunFolder, tmp_path: Path, step: int) -> None:
    with pytest.raises(ZeroDivisionError):
        walk(Walk(at(step, crash)), folder)
    resumed = Walk()
    walk(resumed, folder)
    assert resumed.taken == 7 - step // 3 * 3
    with RunFolder.create(tmp_path / "whole", "walk", Config()) as whole:
        walk(Walk(), whole)
        assert untimed(whole) == untimed(folder)


def test_the_process_may_stop_by_itself(folder: RunFolder) -> None:
    finished = walk(Walk(settles=4), folder, total=None)
    assert (finished.steps, finished.stopped) == (4, "settled")
    assert folder.rows()[-1]["last"]
    assert walk(Walk(at(4, crash)), folder, total=None).stopped == "settled"
    with pytest.raises(Interrupted, match="^walk: stopped after 1 candidate"):
        walk(Walk(at(0, press(signal.SIGINT))), total=None, unit="candidate")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(MODULE, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


def wait(clock: list[float]) -> Callable[[State], None]:
    def act(state: State) -> None:
        clock[0] += 10.0

    return act


def test_seconds_count_over_all_resumptions(folder: RunFolder, clock: list[float]) -> None:
    def act(state: State) -> None:
        wait(clock)(state)
        if state.step == 2:
            signal.raise_signal(signal.SIGINT)

    options: dict[str, Any] = {"total": None, "seconds": 65.0}
    with pytest.raises(Interrupted, match="^walk: stopped after 3 steps$"):
        walk(Walk(act), folder, **options)
    clock[0] += 1000.0
    finished = walk(Walk(wait(clock)), folder, **options)
    # 10 s a step, 30 of them before the interruption: the seventh step ends after 65 s.
    assert (finished.steps, finished.seconds, finished.stopped) == (7, 70.0, "seconds")
    assert folder.rows()[-1]["last"]


def test_the_step_that_saw_a_limit_is_the_last_and_no_other(clock: list[float]) -> None:
    """A step that asks early and works on past the limit is followed by one that knows that it is the last."""

    class AsksEarly(Walk):
        def step(self, state: State, clock_: Clock) -> Step[State]:
            asked = clock_.limit()
            clock[0] += 10.0
            assert clock_.limit() == asked
            return Step(State(state.step + 1, state.x), {"last": asked is not None})

    assert walk(AsksEarly(), total=None, seconds=15.0).steps == 3


def test_checkpoints_by_seconds(folder: RunFolder, clock: list[float]) -> None:
    def act(state: State) -> None:
        wait(clock)(state)
        if state.step == 5:
            crash()

    with pytest.raises(ZeroDivisionError):
        walk(Walk(act), folder, checkpoint_every=100, checkpoint_seconds=20.0)
    found = folder.load_checkpoint("walk")
    assert found is not None
    assert found[1]["steps"] == 4


def spoil(state: State) -> None:
    state.x.fill_(float("nan"))


def diverge() -> None:
    raise Diverged("loss nan; a smaller step may help")


def test_divergence_says_where_and_what_is_kept(folder: RunFolder) -> None:
    said = r"^walk: after 2 of 7 steps: loss nan; a smaller step may help; no checkpoint was written yet$"
    for run in (None, folder):
        with pytest.raises(Diverged, match=said):
            walk(Walk(at(2, diverge)), run)
    said = r"^walk: after 4 of 7 steps: loss nan; .*; the checkpoint after 3 of 7 steps is kept$"
    with pytest.raises(Diverged, match=said):
        walk(Walk(at(4, diverge)), folder)
    assert walk(Walk(), folder).steps == 7


def test_lost_numbers_are_not_saved(folder: RunFolder) -> None:
    said = r"^walk: after 6 of 7 steps: x holds NaN or infinity; the checkpoint after 3 of 7 steps is kept$"
    with pytest.raises(Diverged, match=said):
        walk(Walk(lambda state: spoil(state) if state.step == 4 else None), folder)
    found = folder.load_checkpoint("walk")
    assert found is not None
    assert found[1]["steps"] == 3
    with pytest.raises(Diverged, match="x holds NaN or infinity"):
        walk(Walk(spoil))


@pytest.mark.parametrize(
    ("tensors", "header", "message"),
    [
        ({"x": torch.ones(3)}, {}, r"got torch.float32 \(3,\) for x, expected torch.float64 \(2,\); .* configuration"),
        ({}, {}, r"got nothing for x, expected torch.float64 \(2,\)"),
        ({}, {"process": None}, "process: missing; it was written by another version"),
        ({}, {"steps": "3"}, r"steps: got '3' \(str\); expected an integer"),
        ({}, {"more": 1}, "more: unknown key"),
        ({"x": torch.ones(2, dtype=torch.float64)}, {"process": {}}, r"its header is malformed \(KeyError\('step'\)\)"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_named(
    folder: RunFolder, tensors: dict[str, Tensor], header: dict[str, Any], message: str
) -> None:
    whole = {"steps": 3, "seconds": 1.0, "logged": 2, "stopped": None, "process": {"step": 3}}
    folder.save_checkpoint("walk", tensors, {**whole, **header})
    with pytest.raises(InputError, match=f"^checkpoint walk: {message}"):
        walk(Walk(), folder)


def test_an_old_checkpoint_is_refused(folder: RunFolder) -> None:
    folder.save_checkpoint("walk", {"x": torch.ones(2)}, {"step": 3})
    with pytest.raises(InputError, match="^checkpoint walk: process: missing; it was written by another version$"):
        walk(Walk(), folder)


def test_rows_that_are_gone_are_missed(folder: RunFolder) -> None:
    with pytest.raises(Interrupted):
        walk(Walk(at(4, press(signal.SIGINT))), folder)
    folder.close()
    (folder.path / "metrics.jsonl").unlink()
    with pytest.warns(UserWarning, match="metrics.jsonl lacks . of . rows of walk up to step 4"):
        assert walk(Walk(), folder).steps == 7


def test_a_step_that_says_nothing_packs_nothing() -> None:
    calls = itertools.count()

    class Silent(Walk):
        def step(self, state: State, clock: Clock) -> Step[State]:
            return Step(state)

        def pack(self, state: State) -> tuple[dict[str, Tensor], dict[str, Any]]:
            next(calls)
            return super().pack(state)

    run_loop(Silent(), name="walk", total=1000, checkpoint_every=500)
    assert next(calls) == 2


def test_matching() -> None:
    x, y = torch.zeros(2), torch.zeros(3)
    matching({"x": x}, {"x": x})
    for found, message in (
        ({}, r"got nothing for x, expected torch\.float32 \(2,\)"),
        ({"x": x, "y": y}, r"got torch\.float32 \(3,\) for y, expected nothing"),
        ({"x": y}, r"got torch\.float32 \(3,\) for x, expected torch\.float32 \(2,\)"),
        ({"x": x.double()}, r"got torch\.float64 \(2,\) for x"),
    ):
        with pytest.raises(InputError, match=f"^{message}"):
            matching(found, {"x": x})
