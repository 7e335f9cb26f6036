"""Seconds of processors and of the wall, added and scaled together."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cost:
    """cpu: seconds that all cores together were at work for this process. wall: seconds that went by."""

    cpu: float = 0.0
    wall: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.cpu + other.cpu, self.wall + other.wall)

    def __sub__(self, other: Cost) -> Cost:
        return Cost(self.cpu - other.cpu, self.wall - other.wall)

    def __mul__(self, factor: float) -> Cost:
        return Cost(factor * self.cpu, factor * self.wall)

    def __truediv__(self, divisor: float) -> Cost:
        return self * (1.0 / divisor)
