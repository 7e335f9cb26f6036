"""What a case sets out to reach. Each target reads one result and says whether it is met; None: it cannot be said."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.case import Case
    from benchmarks.result import Result

OURS = "base_fast"
# Scalars, keys and per-channel statistics come on top of the tensors that a target speaks of.
SMALL = 65_536


class Target:
    def __str__(self) -> str:
        raise NotImplementedError

    def found(self, result: Result) -> float | None:
        """What was measured, in the target's own unit."""
        raise NotImplementedError

    def reached(self, found: float) -> bool:
        raise NotImplementedError

    def met(self, result: Result) -> bool | None:
        found = self.found(result)
        return None if found is None else self.reached(found)


class AtLeast(Target):
    ratio: float

    def reached(self, found: float) -> bool:
        return found >= self.ratio


@dataclass(frozen=True)
class Faster(AtLeast):
    """So many times the speed of one opponent, of the fastest of several, or of all; by ours, or by a variant."""

    ratio: float
    than: str | tuple[str, ...] | None = None
    by: str = OURS

    def __str__(self) -> str:
        than = " or ".join(self.than) if isinstance(self.than, tuple) else self.than
        return f"{_of(self.by)}≥ {self.ratio:.3g}× {than or 'the best'}"

    def opponent(self, result: Result) -> str | None:
        if isinstance(self.than, tuple):
            present = [name for name in self.than if name in result.times]
            return min(present, key=lambda name: result.times[name].median, default=None)
        return self.than or result.best

    def found(self, result: Result) -> float | None:
        ratio = result.ratios.get(self.opponent(result) or "")
        if ratio is None or self.by == OURS:
            return None if ratio is None else ratio.median
        own = result.ratios.get(self.by)
        return None if own is None else ratio.median / own.median


@dataclass(frozen=True)
class AtMost(Target):
    """At most so many times the time of an opponent that does less."""

    times: float
    of: str

    def __str__(self) -> str:
        return f"≤ {self.times:.3g}× the time of {self.of}"

    @property
    def ratio(self) -> float:
        return 1.0 / self.times

    def opponent(self, result: Result) -> str | None:
        return self.of

    def found(self, result: Result) -> float | None:
        ratio = result.ratios.get(self.of)
        return None if ratio is None else 1.0 / ratio.median

    def reached(self, found: float) -> bool:
        return found <= self.times


@dataclass(frozen=True)
class NearFloor(Target):
    """At most so many times what moving the bytes takes."""

    times: float

    def __str__(self) -> str:
        return f"≤ {self.times:.3g}× the floor"

    def found(self, result: Result) -> float | None:
        return result.over_floor

    def reached(self, found: float) -> bool:
        return found <= self.times


@dataclass(frozen=True)
class NearLimit(Target):
    """At most so many times what a contender's multiply-adds take."""

    times: float
    by: str

    def __str__(self) -> str:
        return f"{_of(self.by)}≤ {self.times:.3g}× the arithmetic"

    def found(self, result: Result) -> float | None:
        limit, time = result.limits.get(self.by), result.times.get(self.by)
        return None if limit is None or time is None else time.median / limit

    def reached(self, found: float) -> bool:
        return found <= self.times


@dataclass(frozen=True)
class ExtraMemory(Target):
    """A peak of at most so many bytes during a call, the gradients that it returns not counted; found in those."""

    size: int
    what: str

    def __str__(self) -> str:
        return f"extra memory ≤ {self.what}"

    def found(self, result: Result) -> float | None:
        ours = result.memory.get(OURS)
        return None if ours is None else max(ours.extra - SMALL, 0) / self.size

    def reached(self, found: float) -> bool:
        return found <= 1.0


@dataclass(frozen=True)
class SavedMemory(Target):
    """Bytes saved for backward, inputs included, of at most a fraction of what an opponent saves."""

    fraction: float
    of: str

    def __str__(self) -> str:
        return f"saved ≤ {self.fraction:.3g}× {self.of}"

    def found(self, result: Result) -> float | None:
        ours, theirs = result.memory.get(OURS), result.memory.get(self.of)
        return None if ours is None or theirs is None else max(ours.saved - SMALL, 0) / theirs.saved

    def reached(self, found: float) -> bool:
        return found <= self.fraction


@dataclass(frozen=True)
class LessSaved(AtLeast):
    """So many times fewer bytes of activations, the input included, saved for backward than an opponent saves."""

    ratio: float
    than: str
    by: str = OURS

    def __str__(self) -> str:
        return f"{_of(self.by)}saves ≥ {self.ratio:.3g}× less than {self.than}"

    def found(self, result: Result) -> float | None:
        ours, theirs = result.memory.get(self.by), result.memory.get(self.than)
        return None if ours is None or theirs is None else theirs.activations / ours.activations


@dataclass(frozen=True)
class SmallerProcess(AtLeast):
    """So many times less memory at the peak of a process of its own."""

    ratio: float
    than: str
    by: str = OURS

    def __str__(self) -> str:
        return f"{_of(self.by)}process ≥ {self.ratio:.3g}× smaller than {self.than}"

    def found(self, result: Result) -> float | None:
        ours, theirs = result.processes.get(self.by), result.processes.get(self.than)
        return None if not ours or theirs is None else theirs / ours


@dataclass(frozen=True)
class Aim:
    """A target of several cases together: the geometric mean of what is found in each.

    Attributes:
        measure: what is measured, in words.
        cases: all of them are needed.
        beyond: what would be more than was asked for.
    """

    measure: str
    cases: Sequence[Case]
    target: Target
    beyond: float | None = None

    def found(self, results: Sequence[Result]) -> float | None:
        """None where a case was not measured, or does not say."""
        mine = [r for r in results if r.counts and r.case in self.cases]
        values = [found for r in mine if (found := self.target.found(r)) is not None]
        if len(values) < len(self.cases):
            return None
        return math.exp(sum(math.log(value) for value in values) / len(values))

    def met(self, results: Sequence[Result]) -> bool | None:
        found = self.found(results)
        return None if found is None else self.target.reached(found)


def _of(contender: str) -> str:
    return "" if contender == OURS else f"{contender}: "
