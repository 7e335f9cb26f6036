"""The benchmarks of forecasts and of many processes: their arithmetic."""

from __future__ import annotations

import pytest

from base_fast.forecast import Cluster, Cost, Work
from benchmarks.cluster_plan import Plan
from benchmarks.forecast import expected
from benchmarks.meta_runs import RUNS, SCALED, Truth, measured
from benchmarks.scaling import hardware
from benchmarks.scaling_rank import SIZES, Scaled, Shares
from tests.forecast.toys import forecast, meta


@pytest.mark.parametrize("world", [2, 3, 4])
def test_the_constants_give_back_what_was_measured(world: int) -> None:
    found = Scaled((Shares(3, 6.0, 5.0, 0.1, 0.2),) * world, 1000, (0.002, 0.05))
    wire = hardware(found, world)
    for size, seconds in zip(SIZES, found.exchanges, strict=True):
        # As many tasks as ranks, of which nothing is computed.
        model = Cluster(Work((1e-9,) * world, size), world, wire)
        assert model.communication == pytest.approx(seconds, rel=1e-3)


def test_what_is_expected_of_the_iterations_after_the_first() -> None:
    said = forecast(meta(tasks=2, warmup=2))
    part = said.parts[32]
    truth = Truth((Cost(9.0, 9.0), Cost(1.0, 1.0), Cost(2.0, 2.0)), 1, (32,) * 6)
    # The second is of the warm-up, the third is not.
    assert expected(said, truth).cpu == pytest.approx(part.task(False).cpu + part.task(True).cpu)


def test_iterations_begin_where_their_first_task_is_drawn() -> None:
    run = RUNS["mixtures"]

    def fit(trainer: object, tasks: object) -> None:
        keys = [trainer.key] * 2 * run.meta.tasks  # type: ignore[attr-defined]
        for key in keys:
            tasks.sample(key)  # type: ignore[attr-defined]

    truth = measured(run, fit)
    assert len(truth.iterations) == 2
    assert truth.resolutions == (16,) * 4
    assert truth.memory > 0
    assert all(cost.wall > 0 for cost in truth.iterations)


def test_tasks_are_as_many_as_the_processes_divide() -> None:
    assert SCALED.meta.tasks % 4 == 0


def test_a_plan_names_what_holds_it_up() -> None:
    plan = Plan()
    small, large = plan.parts
    # (200 + 24·30)·64 images, at 1.1 ms each.
    assert large["batches"] == pytest.approx(64.768)
    assert small["steps"] == large["steps"] == pytest.approx(2.0)
    assert plan.cluster(8, 64).bottleneck.startswith("compute")
    assert plan.cluster(64, 64).bottleneck.startswith("ranks that wait")
    assert plan.cluster(1024, 64).bottleneck.startswith("ranks without a task")
    # Two rounds of unequal tasks would each wait for the slower: sorted, none does.
    assert plan.cluster(32, 64).busy == pytest.approx(1.0)
