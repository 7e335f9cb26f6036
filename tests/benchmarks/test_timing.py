"""The statistics of interleaved rounds, on a clock of the test's own."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise, permutations

import pytest

from benchmarks.timing import Effort, Spread, race, ratios


class Machine:
    """Counts calls; each contender takes the time it is given, and everything slows down round by round."""

    def __init__(self, **seconds: float) -> None:
        self.calls: list[str] = []
        self.seconds = seconds
        self.runs = {name: self._run(name) for name in seconds}

    def _run(self, name):
        return lambda: self.calls.append(name)

    def timer(self, run, calls: int) -> float:
        for _ in range(calls):
            run()
        return self.seconds[self.calls[-1]]


def test_a_spread_is_the_median_with_two_quantiles():
    assert Spread.of([3.0, 1.0, 2.0]) == Spread(2.0, pytest.approx(1.2), pytest.approx(2.8))
    assert Spread.of([5.0]) == Spread(5.0, 5.0, 5.0)


def test_ratios_are_taken_within_rounds():
    # The machine becomes ten times slower: the ratio of medians would be the same, its spread would not.
    assert ratios([1.0, 10.0], [2.0, 20.0]) == Spread(2.0, 2.0, 2.0)


def test_rounds_are_interleaved():
    machine = Machine(a=1.0, b=2.0, c=3.0)
    times = race(machine.runs, Effort(seconds=0.0, least=4, most=4), machine.timer)
    assert times == {"a": (1.0,) * 4, "b": (2.0,) * 4, "c": (3.0,) * 4}
    # A call each to warm up, then the rounds.
    assert ["".join(sorted(machine.calls[i : i + 3])) for i in range(0, 15, 3)] == ["abc"] * 5


def test_everybody_follows_everybody():
    machine = Machine(a=1.0, b=2.0, c=3.0)
    race(machine.runs, Effort(seconds=0.0, least=40, most=40), machine.timer)
    pairs = Counter(pairwise(machine.calls[3:]))
    assert all(pairs[one, other] >= 5 for one, other in permutations("abc", 2))


def test_short_calls_are_repeated_within_a_round():
    machine = Machine(short=1e-5, long=1.0)
    race(machine.runs, Effort(seconds=0.0, least=1, most=1), machine.timer)
    after_warm_up = machine.calls[machine.calls.index("long") :]
    assert after_warm_up.count("short") == 200
    assert after_warm_up.count("long") == 1 + 1


def test_calls_of_less_than_a_second_are_warmed_up_twice():
    machine = Machine(a=0.5)
    race(machine.runs, Effort(seconds=0.0, least=1, most=1), machine.timer)
    assert machine.calls == ["a"] * 3


@pytest.mark.parametrize(
    ("effort", "rounds"), [(Effort(6.0, 1, 9), 3), (Effort(6.0, 5, 9), 5), (Effort(99.0, 1, 4), 4)]
)
def test_effort_bounds_the_rounds(effort, rounds):
    machine = Machine(a=1.0, b=1.0)
    assert len(race(machine.runs, effort, machine.timer)["a"]) == rounds
