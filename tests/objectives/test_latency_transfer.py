"""Latency on a device that is not known, from a few measurements."""

from __future__ import annotations

import csv

import pytest
import torch

from base_fast.errors import InputError
from base_fast.objectives import Quantity, Table, rank_correlation
from base_fast.objectives.latency_transfer import KnownDevices, family
from base_fast.random import key
from base_fast.space import NAS_BENCH_201
from tests.cli.test_main import complaint, run
from tests.objectives import toys

CHOICES = toys.all_cells()[::23]


def device(weights: list[float], noise: float, seed: int) -> torch.Tensor:
    """(n,): what the primitives take, summed over the edges, with a disturbance in proportion."""
    cost = torch.tensor(weights, dtype=torch.float64)[CHOICES[:, 0]].sum(1) + 2.0
    generator = torch.Generator().manual_seed(seed)
    return cost * torch.exp(noise * torch.randn(len(cost), generator=generator, dtype=torch.float64))


DEVICES = {
    "gpu_1": device([0.0, 0.1, 1.0, 1.2, 0.8], 0.02, 0),
    "gpu_32": device([0.0, 0.1, 1.0, 1.4, 0.8], 0.02, 1),
    "cpu": device([0.0, 0.1, 1.0, 3.0, 0.3], 0.05, 2),
    "phone": device([0.0, 0.3, 1.5, 6.0, 0.9], 0.08, 3),
}
NEW = device([0.0, 0.2, 1.3, 4.0, 0.4], 0.05, 4)


def known(names=tuple(DEVICES)) -> KnownDevices:
    values = torch.stack([DEVICES[name] for name in names], dim=1)
    return KnownDevices(Table(NAS_BENCH_201, CHOICES, [Quantity(name, "smaller", "ms") for name in names], values))


def test_ten_measurements_say_more_than_the_nearest_device():
    ours = known()
    rows = ours.choose(10, key(0))
    assert len(set(rows.tolist())) == 10 and bool(ours.connected[rows].all())
    assert torch.equal(rows, ours.choose(10, key(0))) and torch.equal(rows[:4], ours.choose(4, key(0)))
    predicted = ours.predict(rows, NEW[rows])
    near = DEVICES[ours.devices[ours.nearest(rows, NEW[rows])]]
    found, nearest = (rank_correlation(x[::5], NEW[::5]).spearman for x in (predicted, near))
    assert found > 0.95 and found > nearest
    assert float((predicted / NEW).log().abs().median()) < 0.15


def test_what_is_measured_in_another_unit_is_predicted_in_it():
    rows = known().choose(8, key(1))
    one, other = (known().predict(rows, scale * NEW[rows]) for scale in (1.0, 1000.0))
    assert torch.allclose(1000.0 * one, other)


def test_devices_of_a_family_count_as_one():
    assert family("1080ti_32") == "1080ti" and family("gold_6240") == "gold" and family("pixel3") == "pixel3"
    # Doubling a device's columns within its family changes nothing of what the devices have in common.
    once = known(("gpu_1", "cpu"))
    table = once.table
    twice = KnownDevices(
        Table(
            NAS_BENCH_201,
            CHOICES,
            [Quantity(name, "smaller", "ms") for name in ("gpu_1", "gpu_2", "cpu")],
            table.values[:, [0, 0, 1]],
        )
    )
    rows = once.choose(6, key(0))
    assert torch.allclose(once.predict(rows, NEW[rows]), twice.predict(rows, NEW[rows]))


def test_what_does_not_fit_is_refused():
    with pytest.raises(InputError, match="known: got 1 devices"):
        known(("cpu",))
    with pytest.raises(InputError, match="two latencies or more"):
        known().predict(torch.tensor([3, 4]), torch.tensor([1.0, 1.0]).double())
    with pytest.raises(InputError, match="choose: got 0"):
        known().choose(0, key(0))


def test_the_command_chooses_and_predicts(tmp_path, capsys):
    from base_fast.space import decode

    texts = [decode(z.numpy(), NAS_BENCH_201).compact() for z in CHOICES]
    with (tmp_path / "known.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("arch", *DEVICES))
        writer.writerows(zip(texts, *(x.tolist() for x in DEVICES.values()), strict=True))
    to = ("predict-latency", "--known", tmp_path / "known.csv", "--out", tmp_path / "ten.csv")
    assert run(*to) == 0 and "10 genotypes to measure" in capsys.readouterr().out
    with (tmp_path / "ten.csv").open(newline="") as file:
        ten = [row["arch"] for row in csv.DictReader(file)]
    with (tmp_path / "measured.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("arch", "latency"), *((text, NEW[texts.index(text)].item()) for text in ten)])
    assert run(*to[:-1], tmp_path / "all.csv", "--measured", tmp_path / "measured.csv") == 0
    table = Table.read(tmp_path / "all.csv", NAS_BENCH_201, [Quantity("latency", "smaller", "ms")])
    rows = torch.tensor([texts.index(text) for text in ten])
    assert torch.allclose(table.values[:, 0], known().predict(rows, NEW[rows]))
    assert "no column 'ms'" in complaint(capsys, *to, "--measured", tmp_path / "measured.csv", "--column", "ms")
