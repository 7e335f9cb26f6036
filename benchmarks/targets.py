"""What a case sets out to reach. Each target reads one result and says whether it is met; None: it cannot be said."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from benchmarks.result import Result

OURS = "base_fast"
# Scalars, keys and per-channel statistics come on top of the tensors that a target speaks of.
SMALL = 65_536


class Target(Protocol):
    def __str__(self) -> str: ...

    def met(self, result: Result) -> bool | None: ...

    def found(self, result: Result) -> float | None:
        """What was measured, in the target's own unit."""
        ...


@dataclass(frozen=True)
class Faster:
    """So many times the speed of one opponent, or of the fastest of them."""

    ratio: float
    than: str | None = None

    def __str__(self) -> str:
        return f"≥ {self.ratio:.3g}× {self.than or 'the best'}"

    def found(self, result: Result) -> float | None:
        ratio = result.ratios.get(self.than or result.best or "")
        return None if ratio is None else ratio.median

    def met(self, result: Result) -> bool | None:
        found = self.found(result)
        return None if found is None else found >= self.ratio


@dataclass(frozen=True)
class AtMost:
    """At most so many times the time of an opponent that does less."""

    times: float
    of: str

    def __str__(self) -> str:
        return f"≤ {self.times:.3g}× the time of {self.of}"

    @property
    def ratio(self) -> float:
        return 1.0 / self.times

    @property
    def than(self) -> str:
        return self.of

    def found(self, result: Result) -> float | None:
        ratio = result.ratios.get(self.of)
        return None if ratio is None else 1.0 / ratio.median

    def met(self, result: Result) -> bool | None:
        return _at_most(self.found(result), self.times)


@dataclass(frozen=True)
class NearFloor:
    """At most so many times what moving the bytes takes."""

    times: float

    def __str__(self) -> str:
        return f"≤ {self.times:.3g}× the floor"

    def found(self, result: Result) -> float | None:
        return result.over_floor

    def met(self, result: Result) -> bool | None:
        return _at_most(self.found(result), self.times)


@dataclass(frozen=True)
class ExtraMemory:
    """A peak of at most so many bytes during a call, the gradients that it returns not counted; found in those."""

    size: int
    what: str

    def __str__(self) -> str:
        return f"extra memory ≤ {self.what}"

    def found(self, result: Result) -> float | None:
        ours = result.memory.get(OURS)
        return None if ours is None else max(ours.extra - SMALL, 0) / self.size

    def met(self, result: Result) -> bool | None:
        return _at_most(self.found(result), 1.0)


@dataclass(frozen=True)
class SavedMemory:
    """Bytes saved for backward, inputs included, of at most a fraction of what an opponent saves."""

    fraction: float
    of: str

    def __str__(self) -> str:
        return f"saved ≤ {self.fraction:.3g}× {self.of}"

    def found(self, result: Result) -> float | None:
        ours, theirs = result.memory.get(OURS), result.memory.get(self.of)
        return None if ours is None or theirs is None else max(ours.saved - SMALL, 0) / theirs.saved

    def met(self, result: Result) -> bool | None:
        return _at_most(self.found(result), self.fraction)


def _at_most(found: float | None, most: float) -> bool | None:
    return None if found is None else found <= most
