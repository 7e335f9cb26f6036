"""What a case sets out to reach. Each target reads one result and says whether it is met; None: it cannot be said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from benchmarks.memory import Memory
from benchmarks.timing import Spread

OURS = "base_fast"
# Scalars, keys and per-channel statistics come on top of the tensors that a target speaks of.
SMALL = 65_536


class Measured(Protocol):
    """What a target reads of a `result.Result`, each by the contender's name."""

    @property
    def times(self) -> Mapping[str, Spread]: ...
    @property
    def ratios(self) -> Mapping[str, Spread]: ...
    @property
    def memory(self) -> Mapping[str, Memory]: ...
    @property
    def limits(self) -> Mapping[str, float]: ...
    @property
    def processes(self) -> Mapping[str, int]: ...
    @property
    def best(self) -> str | None: ...


class Target:
    def __str__(self) -> str:
        raise NotImplementedError

    def found(self, result: Measured) -> float | None:
        """What was measured, in the target's own unit."""
        raise NotImplementedError

    def reached(self, found: float) -> bool:
        raise NotImplementedError

    def met(self, result: Measured) -> bool | None:
        found = self.found(result)
        return None if found is None else self.reached(found)


class AtLeast(Target):
    ratio: float

    def reached(self, found: float) -> bool:
        return found >= self.ratio


@dataclass(frozen=True)
class Faster(AtLeast):
    """A multiple of the speed of one opponent, of the fastest of several, or of all; by ours, or by a variant."""

    ratio: float
    than: str | tuple[str, ...] | None = None
    by: str = OURS

    def __str__(self) -> str:
        than = " or ".join(self.than) if isinstance(self.than, tuple) else self.than
        return f"{_of(self.by)}≥ {self.ratio:.3g}× {than or 'the best'}"

    def opponent(self, result: Measured) -> str | None:
        if isinstance(self.than, tuple):
            present = [name for name in self.than if name in result.times]
            return min(present, key=lambda name: result.times[name].median, default=None)
        return self.than or result.best

    def found(self, result: Measured) -> float | None:
        ratio = result.ratios.get(self.opponent(result) or "")
        if ratio is None or self.by == OURS:
            return None if ratio is None else ratio.median
        own = result.ratios.get(self.by)
        return None if own is None else ratio.median / own.median


@dataclass(frozen=True)
class AtMost(Target):
    """At most a multiple of the time of an opponent that does less."""

    times: float
    of: str

    def __str__(self) -> str:
        return f"≤ {self.times:.3g}× the time of {self.of}"

    @property
    def ratio(self) -> float:
        return 1.0 / self.times

    def opponent(self, result: Measured) -> str | None:
        return self.of

    def found(self, result: Measured) -> float | None:
        ratio = result.ratios.get(self.of)
        return None if ratio is None else 1.0 / ratio.median

    def reached(self, found: float) -> bool:
        return found <= self.times


@dataclass(frozen=True)
class NearLimit(Target):
    """At most a multiple of the time that a contender's multiply-adds take."""

    times: float
    by: str

    def __str__(self) -> str:
        return f"{_of(self.by)}≤ {self.times:.3g}× the arithmetic"

    def found(self, result: Measured) -> float | None:
        limit, time = result.limits.get(self.by), result.times.get(self.by)
        return None if limit is None or time is None else time.median / limit

    def reached(self, found: float) -> bool:
        return found <= self.times


@dataclass(frozen=True)
class ExtraMemory(Target):
    """A limit on the bytes that a call needs at its peak beside the gradients that it returns; found in units of it."""

    size: int
    what: str

    def __str__(self) -> str:
        return f"extra memory ≤ {self.what}"

    def found(self, result: Measured) -> float | None:
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

    def found(self, result: Measured) -> float | None:
        ours, theirs = result.memory.get(OURS), result.memory.get(self.of)
        return None if ours is None or theirs is None else max(ours.saved - SMALL, 0) / theirs.saved

    def reached(self, found: float) -> bool:
        return found <= self.fraction


@dataclass(frozen=True)
class LessSaved(AtLeast):
    """A multiple by which fewer bytes of activations, the input included, saved for backward than an opponent saves."""

    ratio: float
    than: str
    by: str = OURS

    def __str__(self) -> str:
        return f"{_of(self.by)}saves ≥ {self.ratio:.3g}× less than {self.than}"

    def found(self, result: Measured) -> float | None:
        ours, theirs = result.memory.get(self.by), result.memory.get(self.than)
        return None if ours is None or theirs is None else theirs.activations / ours.activations


@dataclass(frozen=True)
class SmallerProcess(AtLeast):
    """A multiple by which less memory is used at the peak of a process of its own."""

    ratio: float
    than: str
    by: str = OURS

    def __str__(self) -> str:
        return f"{_of(self.by)}process ≥ {self.ratio:.3g}× smaller than {self.than}"

    def found(self, result: Measured) -> float | None:
        ours, theirs = result.processes.get(self.by), result.processes.get(self.than)
        return None if not ours or theirs is None else theirs / ours


def _of(contender: str) -> str:
    return "" if contender == OURS else f"{contender}: "
