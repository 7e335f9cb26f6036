"""The contenders of edges and supernets, at sizes that take a moment."""

from __future__ import annotations

import pytest
import torch

from benchmarks import measure, process_memory, sgd_step, smart_mixed_op
from benchmarks.agreement import compare
from benchmarks.mixed_op import OTHERS, Edge, all_gradients, plain
from benchmarks.result import DIFFERS, FAILED
from benchmarks.supernet_step import HARD_STEPS, QUICK, STEPS, Step, expected, one_hot
from benchmarks.targets import OURS
from benchmarks.threads import on_one_thread


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(4, 5, 7), (2, 6, 8), (2, 2, 5)], ids=str)
def test_the_rewrite_computes_the_edge(size, stride):
    edge = Edge.of(*size, stride=stride).double()
    averages = smart_mixed_op.averages(edge.x, stride)
    y = smart_mixed_op.mixed_op(edge.x, edge.z, list(edge.modules.parameters()), stride, averages)
    assert compare(all_gradients(edge, y), plain(edge), 1e-10).problem == ""


def test_a_hard_sample_executes_the_chosen_modules():
    case = HARD_STEPS[0]
    step = case.setup(**QUICK)
    for contender in case.opponents.values():
        outputs = contender.read(step, contender.build(step)())
        assert compare(outputs, expected(step), 1e-4).problem == ""


def test_a_hard_sample_has_every_primitive():
    z = one_hot(torch.zeros(2, 14, 8))
    assert torch.equal(z.sum(-1), torch.ones(2, 14))
    assert sorted(z.sum((0, 1)).tolist()) == [3.0] * 4 + [4.0] * 4


def test_computing_cells_again_changes_nothing():
    step = Step.of(**QUICK, hard=False)
    contender = next(iter(STEPS[0].opponents.values()))
    outputs = contender.read(step, contender.build(step)())
    assert compare(outputs, expected(step), 1e-4).problem == ""


def test_one_thread_and_then_as_many_as_before(monkeypatch):
    threads = 3
    seen = []

    def set_threads(count):
        nonlocal threads
        threads = count

    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr(torch, "set_num_threads", set_threads)
    run = on_one_thread(lambda _: lambda: seen.append(torch.get_num_threads()))(None)
    run()
    assert seen == [1] and threads == 3


def test_a_process_of_its_own_is_weighed():
    (case,) = sgd_step.CASES
    assert process_memory.largest_resident() > 0
    assert 0 <= process_memory.measure(case, "SGD(foreach)", quick=True) < 1_000_000_000


@pytest.mark.parametrize("case", [OTHERS[0], OTHERS[1], STEPS[0], HARD_STEPS[0]], ids=lambda case: case.op)
def test_no_contender_disagrees(case):
    ready = measure.prepare(case, quick=True)
    assert OURS in ready.runs
    assert not [verdict for verdict in ready.verdicts.values() if verdict.status in (DIFFERS, FAILED)]
