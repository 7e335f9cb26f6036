"""What a search takes of the machine, counted over all resumptions."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any, Generic, TypeVar

from torch import Tensor

from base_fast.errors import InputError
from base_fast.runs import Clock, Step, from_dict
from base_fast.runs.memory import PeakMemory
from base_fast.strategies.strategy import Result, Strategy

S = TypeVar("S")


@dataclass(frozen=True)
class Cost:
    """cost.json: what a search took; images, imports and reports are left out.

    Attributes:
        cpu_seconds: of all threads of the process. Steps that a kill undid count once.
        wall_seconds: the same by the clock.
        peak_bytes: memory that the process took at most, beyond what it held before the search; 0 where the system
            does not say. Only a fresh process shows all of it: another one may take what it had kept for reuse.
    """

    cpu_seconds: float
    wall_seconds: float
    peak_bytes: int


class Metered(Generic[S]):
    """The same search, with its cost; the cost is in its checkpoints, the state is that of the search itself."""

    def __init__(self, strategy: Strategy[S]) -> None:
        self.strategy = strategy
        self.unit, self.total, self.seconds = strategy.unit, strategy.total, strategy.seconds
        self._begin(Cost(0.0, 0.0, 0))

    @property
    def cost(self) -> Cost:
        """Until now."""
        before = self._before
        return Cost(
            before.cpu_seconds + time.process_time() - self._cpu,
            before.wall_seconds + time.monotonic() - self._wall,
            max(before.peak_bytes, self._peak.bytes),
        )

    def _begin(self, before: Cost) -> None:
        self._before, self._peak = before, PeakMemory()
        self._cpu, self._wall = time.process_time(), time.monotonic()

    def start(self, clock: Clock) -> Step[S]:
        self._begin(Cost(0.0, 0.0, 0))
        return self.strategy.start(clock)

    def step(self, state: S, clock: Clock) -> Step[S]:
        return self.strategy.step(state, clock)

    def pack(self, state: S) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors, header = self.strategy.pack(state)
        return tensors, {"search": header, "cost": asdict(self.cost)}

    def unpack(self, tensors: dict[str, Tensor], header: dict[str, Any]) -> S:
        if not isinstance(header.get("search"), dict) or not isinstance(header.get("cost"), dict):
            raise InputError("header: got no cost of the search; it was written by another version")
        before = from_dict(Cost, header["cost"])
        state = self.strategy.unpack(tensors, header["search"])
        self._begin(before)
        return state

    def result(self, state: S) -> Result:
        return self.strategy.result(state)
