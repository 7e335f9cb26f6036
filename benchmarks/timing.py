"""Contenders timed against each other: in one process, round by round, so that whatever slows the machine slows all.

A round times each contender once, in an order of its own: in a fixed one, rotated or not, a contender would find the
caches as the same other one always leaves them. Calls of microseconds are repeated within a round until the clock's own
cost is negligible. Ratios are taken within a round and only then summarized.
"""

from __future__ import annotations

import gc
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, TypeAlias

import numpy

# From a call and a number of calls to seconds per call.
Run: TypeAlias = Callable[[], Any]
Timer: TypeAlias = Callable[[Run, int], float]

SHORTEST = 2e-3
WARM_UP = 0.1
# Calls that take longer have been warmed up by the one before.
SLOW = 1.0


@dataclass(frozen=True)
class Spread:
    """The median with the 10 % and the 90 % quantile, over rounds."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        low, median, high = (float(q) for q in numpy.quantile(values, (0.1, 0.5, 0.9)))
        return cls(median, low, high)


@dataclass(frozen=True)
class Effort:
    """How long to measure: until `seconds` have passed, but at least `least` and at most `most` rounds."""

    seconds: float = 10.0
    least: int = 5
    most: int = 50


def wall(run: Run, calls: int) -> float:
    """Seconds per call, by the wall clock."""
    began = perf_counter()
    for _ in range(calls):
        run()
    return (perf_counter() - began) / calls


def race(runs: Mapping[str, Run], effort: Effort, timer: Timer = wall) -> dict[str, tuple[float, ...]]:
    """Seconds per call of each contender, one number per round."""
    names = list(runs)
    repeats = {name: _repeats(runs[name], timer) for name in names}
    rounds: dict[str, list[float]] = {name: [] for name in names}
    spent = 0.0
    order = random.Random(0)
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        for i in range(effort.most):
            if i >= effort.least and spent >= effort.seconds:
                break
            for name in order.sample(names, len(names)):
                seconds = timer(runs[name], repeats[name])
                rounds[name].append(seconds)
                spent += seconds * repeats[name]
    finally:
        if collecting:
            gc.enable()
    return {name: tuple(times) for name, times in rounds.items()}


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
    """How many times ours fits into theirs, by rounds."""
    return Spread.of([b / a for a, b in zip(ours, theirs, strict=True)])


def _repeats(run: Run, timer: Timer) -> int:
    """Warm up, and count the calls that make a measurable time."""
    spent, calls, last = 0.0, 0, 0.0
    while not calls or (calls == 1 and spent < SLOW) or (spent < WARM_UP and calls < 1000):
        last = timer(run, 1)
        spent += last
        calls += 1
    return max(1, min(10_000, math.ceil(SHORTEST / max(last, 1e-9))))
