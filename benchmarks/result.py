"""What one case gave: JSON values, read by the table, the plot and the targets."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.case import Case
from benchmarks.memory import Memory
from benchmarks.targets import OURS, Target
from benchmarks.timing import Spread

AGREES, DIFFERS, ABSENT, FAILED = "agrees", "values differ", "absent", "failed"


@dataclass(frozen=True)
class Verdict:
    """Whether a contender takes part.

    Attributes:
        status: one of the four words above.
        reason: why it does not take part, or why it does though its values were not compared.
        error: its largest error, relative to the largest expected magnitude; None where nothing was compared.
    """

    status: str
    reason: str = ""
    error: float | None = None

    @property
    def takes_part(self) -> bool:
        return self.status == AGREES


@dataclass(frozen=True)
class Result:
    """One case's outcome; `times` in seconds, `ratios` and `memory` only of contenders that take part.

    Attributes:
        kernel: what serves the op on that device.
        verdicts: of every contender; ours is called `OURS`.
        ratios: how many times ours fits into the opponent's time.
        floor: seconds that moving the bytes takes; None without a bound.
        limits: seconds that the multiply-adds take, of contenders that are held against arithmetic.
        processes: bytes that a process of its own needs at most, of contenders whose peak was taken.
    """

    case: Case
    quick: bool
    device: str
    kernel: str
    verdicts: dict[str, Verdict]
    times: dict[str, Spread] = field(default_factory=dict)
    ratios: dict[str, Spread] = field(default_factory=dict)
    memory: dict[str, Memory] = field(default_factory=dict)
    rounds: int = 0
    floor: float | None = None
    limits: dict[str, float] = field(default_factory=dict)
    processes: dict[str, int] = field(default_factory=dict)

    @property
    def title(self) -> str:
        return self.case.title(self.quick)

    @property
    def ours(self) -> Verdict:
        return self.verdicts[OURS]

    @property
    def best(self) -> str | None:
        """The opponent with the smallest median."""
        opponents = [name for name in self.ratios if name in self.case.opponents]
        return min(opponents, key=lambda name: self.times[name].median, default=None)

    @property
    def over_floor(self) -> float | None:
        time = self.times.get(OURS)
        return None if time is None or self.floor is None else time.median / self.floor

    @property
    def wrong(self) -> bool:
        """Whether anything disagreed or broke."""
        return any(verdict.status in (DIFFERS, FAILED) for verdict in self.verdicts.values())

    @property
    def counts(self) -> bool:
        """Whether targets apply: they are set for the full sizes, on a CPU."""
        return self.device == "cpu" and not self.quick

    def targets(self) -> tuple[Target, ...]:
        """Those that apply."""
        return self.case.targets if self.counts else ()

    def to_json(self) -> dict[str, Any]:
        return {
            "title": self.title,
            "op": self.case.op,
            "name": self.case.name,
            "sizes": dict(self.case.quick if self.quick else self.case.sizes),
            "quick": self.quick,
            "device": self.device,
            "kernel": self.kernel,
            "rounds": self.rounds,
            "best": self.best,
            "floor_seconds": self.floor,
            "over_floor": self.over_floor,
            "limit_seconds": self.limits,
            "process_bytes": self.processes,
            "targets": [{"target": str(t), "found": t.found(self), "met": t.met(self)} for t in self.targets()],
            **{
                part: {name: asdict(value) for name, value in getattr(self, part).items()}
                for part in ("verdicts", "times", "ratios", "memory")
            },
        }
