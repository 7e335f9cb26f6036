"""A cluster's share of the work, its bytes and its time, by hand."""

from __future__ import annotations

import pytest

from base_fast.errors import InputError
from base_fast.forecast import Cluster, Cost, Forecast, Hardware, Work
from tests.forecast.toys import MIB, forecast, meta, one


@pytest.mark.parametrize("tasks", [1, 4, 7])
@pytest.mark.parametrize("world", [1, 2, 3, 4, 9])
def test_every_task_is_done_once(tasks: int, world: int) -> None:
    cluster = Cluster(Work.of(forecast(meta(tasks=tasks))), world)
    done = [task for rank in range(world) for task in cluster.tasks_of(rank)]
    assert sorted(done) == list(range(tasks))


def test_expensive_tasks_begin_first() -> None:
    config = meta(tasks=4)
    parts = {32: one(config), 64: one(config, sample=Cost(50.0, 50.0))}
    cluster = Cluster(Work.of(Forecast(config, parts)), 2)
    assert [cluster.tasks_of(rank) for rank in (0, 1)] == [[1, 0], [3, 2]]
    costs = [part.task().wall for part in parts.values()]
    assert cluster.compute == pytest.approx(sum(costs))
    assert cluster.busy == pytest.approx(1.0)


def test_bytes_are_those_of_a_ring_where_every_rank_has_a_task() -> None:
    cluster = Cluster(Work.of(forecast()), 4)
    assert cluster.sent == pytest.approx(2 * 4 * MIB * 3 / 4)
    assert Cluster(Work.of(forecast()), 2).sent == pytest.approx(3 * 4 * MIB / 2)
    assert Cluster(Work.of(forecast()), 1).sent == 0.0


def test_time() -> None:
    wire = Hardware(speed=2.0, bandwidth=MIB, latency=0.5)
    cluster = Cluster(Work.of(forecast()), 4, wire)
    task = forecast().parts[32].task().wall / 2
    assert cluster.compute == pytest.approx(task)
    # Records, slices and the gathering: three messages to each of three others.
    assert cluster.communication == pytest.approx(6.0 + 9 * 0.5)
    assert cluster.seconds == pytest.approx(task + 10.5)
    assert cluster.speedup == pytest.approx(4 * task / (task + 10.5))
    assert Cluster(Work.of(forecast()), 1, wire).speedup == pytest.approx(1.0)


def test_bottlenecks_are_named() -> None:
    assert Cluster(Work.of(forecast()), 4).bottleneck.startswith("compute")
    assert Cluster(Work.of(forecast()), 4, Hardware(latency=60.0)).bottleneck.startswith(
        "communication: a faster network"
    )
    assert Cluster(Work.of(forecast()), 64).bottleneck.startswith("ranks without a task: more tasks")
    assert Cluster(Work.of(forecast(meta(tasks=5))), 4).bottleneck.startswith("ranks that wait for a task")


def test_bad_clusters_are_refused() -> None:
    with pytest.raises(InputError, match="world: got 0, expected an integer ≥ 1"):
        Cluster(Work.of(forecast()), 0)
    with pytest.raises(InputError, match="bandwidth: got -1"):
        Hardware(bandwidth=-1)
    with pytest.raises(InputError, match="latency: got 0"):
        Hardware(latency=0.0)
