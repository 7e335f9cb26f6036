"""No speed-up without agreement, whoever disagrees."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
import torch

from benchmarks import measure as measuring
from benchmarks.case import Absent, Contender
from benchmarks.device import on_device
from benchmarks.measure import measure, prepare, time_limit
from benchmarks.result import ABSENT, AGREES, DIFFERS, FAILED, Verdict
from benchmarks.table import speed
from benchmarks.targets import OURS
from benchmarks.timing import Effort
from tests.benchmarks.toy import Toy, absent, broken, case, times, wrong_gradient

EFFORT = Effort(seconds=0.0, least=2, most=2)


@pytest.fixture(autouse=True)
def _no_bandwidth(monkeypatch):
    monkeypatch.setattr(measuring, "copy_bandwidth", lambda *_: 1e9)


def test_contenders_that_agree_are_timed():
    result = measure(case(), EFFORT)
    assert {name: v.status for name, v in result.verdicts.items()} == {OURS: AGREES, "plain": AGREES}
    assert result.best == "plain" and set(result.ratios) == {"plain"} and result.rounds == 2
    assert result.floor == pytest.approx(4 * 4 * 1000 / 1e9) and result.over_floor > 0.0
    assert not result.wrong


@pytest.mark.parametrize("ours", [times(2.001), Contender(wrong_gradient)], ids=["value", "gradient"])
def test_wrong_values_of_ours_print_no_speed_up(ours):
    result = measure(case(ours), EFFORT)
    assert result.ours.status == DIFFERS and result.wrong
    assert not result.times and not result.ratios and result.best is None
    (row,) = speed([result]).rows
    assert row[2].startswith("values differ") and row[5] is None
    assert {target.met(result) for target in result.targets()} == {None}


def test_a_wrong_opponent_is_left_out_and_reported():
    result = measure(case(cheat=Contender(wrong_gradient), plain=times(2.0)), EFFORT)
    assert result.verdicts["cheat"].status == DIFFERS and result.wrong
    assert set(result.ratios) == {"plain"}


def test_absent_and_failing_opponents_are_no_error():
    result = measure(case(later=Contender(absent), bad=Contender(broken), plain=times(2.0)), EFFORT)
    assert result.verdicts["later"].reason == "it is not made yet"
    assert result.verdicts["bad"].reason == "RuntimeError: two lines"
    assert {result.verdicts[name].status for name in ("later", "bad")} == {ABSENT}
    assert not result.wrong


def test_an_absent_op_gives_a_row_without_numbers_and_a_broken_one_an_error():
    missing = measure(case(Contender(absent)), EFFORT)
    assert missing.ours.status == ABSENT and not missing.wrong and not missing.times
    assert measure(case(Contender(broken)), EFFORT).ours.status == FAILED
    assert measure(case(Contender(broken)), EFFORT).wrong


def test_other_work_is_timed_without_comparison():
    other = Contender(times(3.0).build, other_work="triples")
    result = measure(case(plain=other), EFFORT)
    assert result.verdicts["plain"].reason == "triples" and set(result.ratios) == {"plain"} and not result.wrong


def test_variants_are_checked_and_timed_but_never_the_best_opponent():
    result = measure(replace(case(), variants={"other way": times(2.0), "wrong way": times(2.1)}), EFFORT)
    assert list(result.verdicts) == [OURS, "other way", "wrong way", "plain"]
    assert set(result.ratios) == {"other way", "plain"} and result.best == "plain"
    assert result.verdicts["wrong way"].status == DIFFERS and result.wrong
    assert measure(replace(case(), variants={"other way": Contender(broken)}), EFFORT).wrong


def test_an_opponents_error_is_a_yardstick():
    close, rough = Contender(times(2.015).build, yardstick=("rough",)), Contender(times(2.01).build, tolerance=0.1)
    assert measure(case(close, rough=rough), EFFORT).ours.status == AGREES
    exact = Contender(times(2.0).build)
    assert measure(case(close, rough=exact), EFFORT).ours.status == DIFFERS
    assert measure(case(close, plain=exact), EFFORT).ours.status == DIFFERS


def test_a_contender_may_be_judged_over_draws():
    """The first draw's errors are chance: a lucky yardstick's there, an unlucky contender's."""

    def off_by(*errors: float) -> Contender:
        calls = iter(errors)
        return Contender(lambda s: times(2.0 * (1.0 + next(calls))).build(s))

    def judged(ours: Contender, yardstick: Contender) -> Verdict:
        ours, rough = replace(ours, yardstick=("rough",), draws=4), replace(yardstick, tolerance=9.0)
        return prepare(case(ours, rough=rough)).verdicts[OURS]

    lucky = (0.0, 0.0, 0.1, 0.1, 0.1)  # the first draw is that of the set-up, and counts again
    assert judged(off_by(0.2, 0.2, 0.01, 0.01, 0.01), off_by(*lucky)).status == AGREES
    verdict = judged(off_by(*[0.2] * 5), off_by(*lucky))
    assert verdict.status == DIFFERS and "is off by 0.2, allowed 0.17" in verdict.reason
    # Nor does a lucky draw help.
    assert judged(off_by(0.0, 0.0, 0.2, 0.2, 0.2), off_by(*[0.01] * 5)).status == DIFFERS


def test_a_yardstick_is_neither_a_contender_nor_timed():
    close, rough = Contender(times(2.015).build, yardstick=("rough",)), times(2.01)
    result = measure(replace(case(close), yardsticks={"rough": rough}), EFFORT)
    assert set(result.verdicts) == {OURS, "plain"} and result.ours.status == AGREES


def test_slow_cases_take_few_rounds_and_no_account_of_allocations():
    result = measure(replace(case(), rounds=1, in_process=False), EFFORT)
    assert result.rounds == 1 and not result.memory


def test_multiply_adds_have_a_limit(monkeypatch):
    monkeypatch.setattr(measuring, "multiply_add_rate", lambda: 1e6)
    result = measure(replace(case(), multiply_adds={OURS: lambda s: s.x.numel()}), EFFORT)
    assert result.limits == {OURS: pytest.approx(1e-3)}


def test_targets_are_for_full_sizes():
    assert [str(target) for target in measure(case(), EFFORT).targets()] == ["≥ 3× the best", "≥ 2× plain"]
    assert measure(case(), EFFORT, quick=True).targets() == ()


def test_a_first_call_has_a_time_limit():
    with pytest.raises(Absent, match="more than 1 s"), time_limit(1):
        time.sleep(5.0)


def test_a_set_up_keeps_its_leaves_on_another_device():
    moved = on_device(Toy.of(3), "meta")
    assert moved.x.device.type == "meta" and moved.x.requires_grad and moved.x.is_leaf
    assert not moved.grad.requires_grad
    assert on_device([torch.ones(2), 3], "meta")[1] == 3
