"""The forecast's arithmetic, by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from base_fast.errors import InputError
from base_fast.forecast import Cost, Forecast, OneResolution
from base_fast.forecast.model import probe_sizes
from base_fast.meta import InnerConfig, OuterConfig
from tests.forecast.toys import MIB, forecast, found, meta, one, unrolled


def test_time_of_a_task() -> None:
    part = one()
    assert part.step.cpu == pytest.approx(0.74)
    assert part.step.wall == pytest.approx(1.48)
    # After steps 40 and 80, and after the last one.
    assert part.draws == 3
    # Half of the eight cells are different.
    assert part.draw(warm=True).cpu == pytest.approx(12.0)
    assert part.task().cpu == pytest.approx(1.0 + 74.0 + 3 * 12.0)
    assert part.task(warm=False).cpu == pytest.approx(1.0 + 74.0 + 3 * 4.0)


def test_time_of_iterations_and_of_the_run() -> None:
    whole = forecast()
    warm, cold = 4 * 111.0, 4 * 87.0
    assert whole.iteration().cpu == pytest.approx(warm)
    assert whole.iteration(warm=False).cpu == pytest.approx(cold)
    assert whole.run.cpu == pytest.approx(3 * cold + 7 * warm)
    # A warm-up that is longer than the run.
    assert forecast(meta(warmup=20)).run.cpu == pytest.approx(10 * cold)


def test_other_kinds_of_z_draw_no_cells() -> None:
    config = meta(inner=InnerConfig(z="soft", batch_size=64))
    assert one(config).draws == 0
    assert one(config).task() == one(config).task(warm=False)


def test_a_fresh_gradient_counts_as_a_step() -> None:
    config = meta(outer=OuterConfig("first_order"))
    small, large = (replace(found(b), around=found(b).step) for b in (16, 32))
    assert OneResolution(config, small, large).task().cpu == pytest.approx(111.0 + 0.74)


def test_memory() -> None:
    part = one()
    # Four tasks: the partial sums of two and of one, and a gradient on its way, of 4 MiB each.
    assert part.vectors == 3 * 4 * MIB
    assert part.memory() == (120 + 3 * 64 + 12) * MIB
    assert part.memory(1) == (150 + 12) * MIB  # where cells take more than a step
    assert one(meta(tasks=1)).memory() == (120 + 3 * 64) * MIB


def test_memory_of_an_unrolled_loop_grows_with_its_steps() -> None:
    assert unrolled().memory() == (120 + 100 * (1 + 32) + 12) * MIB


@pytest.mark.parametrize("mib", [162, 163, 200, 324, 327, 1000.5, 16384])
def test_the_largest_batch_fits_and_the_next_one_does_not(mib: float) -> None:
    whole, memory = forecast(), int(mib * MIB)
    batch = whole.largest_batch(memory)
    assert whole.memory(batch) <= memory < whole.memory(batch + 1)


def test_no_batch_fits() -> None:
    assert forecast().largest_batch(150 * MIB) == 0


def test_memory_that_does_not_grow() -> None:
    with pytest.raises(InputError, match="memory: it hardly grows with the batch here"):
        forecast(stepping=200 * MIB).largest_batch(1000 * MIB)


def test_resolutions_are_equally_likely_and_the_hungriest_counts() -> None:
    config = meta()
    slow = one(config, sample=Cost(11.0, 12.0), measuring=500 * MIB)
    both = Forecast(config, {32: one(config), 64: slow})
    assert both.iteration().cpu == pytest.approx(4 * (111.0 + 5.0))
    assert both.memory() == slow.memory() == 512 * MIB


@pytest.mark.parametrize(("batch", "sizes"), [(64, (16, 32)), (17, (4, 8)), (8, (4, 8)), (2, (2, 3)), (1, (2, 3))])
def test_probes_are_smaller_where_they_can_be(batch: int, sizes: tuple[int, int]) -> None:
    assert probe_sizes(batch) == sizes
