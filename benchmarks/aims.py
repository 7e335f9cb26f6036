"""What several cases set out to reach together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.case import Case
from benchmarks.result import Result
from benchmarks.targets import Target


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
