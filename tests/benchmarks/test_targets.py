"""When a target is met."""

from __future__ import annotations

import pytest

from benchmarks.memory import Memory
from benchmarks.result import AGREES, Result, Verdict
from benchmarks.targets import OURS, AtMost, ExtraMemory, Faster, NearFloor, SavedMemory
from benchmarks.timing import Spread
from tests.benchmarks.toy import case


def flat(value: float) -> Spread:
    return Spread(value, value, value)


RESULT = Result(
    case(),
    False,
    "cpu",
    "C++",
    {name: Verdict(AGREES) for name in (OURS, "slow", "fast")},
    times={OURS: flat(1.0), "slow": flat(4.0), "fast": flat(0.5)},
    ratios={"slow": flat(4.0), "fast": flat(0.5)},
    memory={OURS: Memory(10_000_000, 2_000_000, 0), "slow": Memory(0, 8_000_000, 0)},
    floor=0.8,
)


@pytest.mark.parametrize(
    ("target", "met"),
    [
        (Faster(3.0, "slow"), True),
        (Faster(5.0, "slow"), False),
        (Faster(0.4), True),
        (Faster(1.0), False),
        (Faster(1.0, "absent"), None),
        (AtMost(2.5, "fast"), True),
        (AtMost(1.5, "fast"), False),
        (NearFloor(1.3), True),
        (NearFloor(1.2), False),
        (ExtraMemory(10_000_000, "this"), True),
        (ExtraMemory(5_000_000, "that"), False),
        (SavedMemory(0.25, "slow"), True),
        (SavedMemory(0.2, "slow"), False),
        (SavedMemory(0.25, "fast"), None),
    ],
    ids=str,
)
def test_targets(target, met):
    assert target.met(RESULT) is met


def test_the_best_opponent_has_the_smallest_median():
    assert RESULT.best == "fast"
    assert RESULT.over_floor == pytest.approx(1.25)
