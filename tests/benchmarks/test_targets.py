"""When a target is met."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.aims import Aim
from benchmarks.memory import Memory
from benchmarks.result import AGREES, Result, Verdict
from benchmarks.targets import (
    OURS,
    AtMost,
    ExtraMemory,
    Faster,
    LessSaved,
    NearLimit,
    SavedMemory,
    SmallerProcess,
)
from benchmarks.timing import Spread
from tests.benchmarks.toy import case, times


def flat(value: float) -> Spread:
    return Spread(value, value, value)


CASE = case(slow=times(2.0), fast=times(2.0))
RESULT = Result(
    CASE,
    False,
    "cpu",
    "C++",
    {name: Verdict(AGREES) for name in (OURS, "other way", "slow", "fast")},
    times={OURS: flat(1.0), "other way": flat(0.25), "slow": flat(4.0), "fast": flat(0.5)},
    ratios={"other way": flat(0.25), "slow": flat(4.0), "fast": flat(0.5)},
    memory={OURS: Memory(10_000_000, 2_000_000, 0, 1_000_000), "slow": Memory(0, 8_000_000, 0, 6_000_000)},
    floor=0.8,
    limits={"other way": 0.2},
    processes={OURS: 500, "slow": 2000},
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
        (ExtraMemory(10_000_000, "this"), True),
        (ExtraMemory(5_000_000, "that"), False),
        (SavedMemory(0.25, "slow"), True),
        (SavedMemory(0.2, "slow"), False),
        (SavedMemory(0.25, "fast"), None),
        (Faster(16.0, "slow", by="other way"), True),
        (Faster(17.0, "slow", by="other way"), False),
        (Faster(1.0, "slow", by="absent"), None),
        (Faster(0.6, ("slow", "fast", "absent")), False),
        (Faster(3.0, ("slow", "absent")), True),
        (Faster(1.0, ("absent",)), None),
        (NearLimit(1.3, "other way"), True),
        (NearLimit(1.2, "other way"), False),
        (NearLimit(1.2, "slow"), None),
        (LessSaved(6.0, "slow"), True),
        (LessSaved(6.1, "slow"), False),
        (LessSaved(1.0, "slow", by="other way"), None),
        (SmallerProcess(4.0, "slow"), True),
        (SmallerProcess(4.1, "slow"), False),
        (SmallerProcess(1.0, "fast"), None),
    ],
    ids=str,
)
def test_targets(target, met):
    assert target.met(RESULT) is met


def test_the_best_opponent_has_the_smallest_median():
    # A faster way of ours is none.
    assert RESULT.best == "fast"
    assert RESULT.over_floor == pytest.approx(1.25)


def test_an_aim_is_a_geometric_mean_over_all_its_cases():
    other = replace(RESULT, case=case(), ratios={"slow": flat(9.0)})
    aim = Aim("both", (RESULT.case, other.case), Faster(6.0, "slow"))
    assert aim.found([RESULT, other]) == pytest.approx(6.0)
    assert aim.met([RESULT, other]) and not Aim("both", aim.cases, Faster(6.1, "slow")).met([RESULT, other])
    for missing in ([RESULT], [RESULT, replace(other, quick=True)], [RESULT, replace(other, ratios={})]):
        assert aim.found(missing) is None and aim.met(missing) is None
