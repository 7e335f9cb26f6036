"""Fronts and hypervolumes, against their definitions by brute force."""

from __future__ import annotations

import itertools

import pytest
import torch

from base_fast.errors import InputError
from base_fast.objectives import front, hypervolume
from base_fast.objectives.pareto import select

pytest.importorskip("pymoo")


def points(n: int, goals: int, seed: int) -> torch.Tensor:
    """Whole numbers, so that many are equal in a column."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 6, (n, goals), generator=generator).double()


def beaten(values: torch.Tensor, i: int) -> bool:
    return any(bool((values[j] >= values[i]).all() and (values[j] > values[i]).any()) for j in range(len(values)))


@pytest.mark.parametrize("goals", [1, 2, 3])
def test_the_front_is_what_nothing_beats(goals):
    values = points(30, goals, goals)
    found = front(values).tolist()
    best = {tuple(values[i].tolist()) for i in range(30) if not beaten(values, i)}
    assert {tuple(values[i].tolist()) for i in found} == best and len(found) == len(best)
    # Of equal ones the first, and the best in the first goal first.
    rows = values.tolist()
    assert all(rows.index(rows[i]) == i for i in found)
    assert values[found, 0].tolist() == sorted(values[found, 0].tolist(), reverse=True)
    assert front(torch.empty(0, 2).double()).tolist() == []


@pytest.mark.parametrize("goals", [2, 3])
def test_the_hypervolume_is_the_volume_that_is_beaten(goals):
    values = points(12, goals, 5)
    # Unit cubes between whole numbers: each counts where some point lies beyond its far corner.
    cubes = itertools.product(range(1, 6), repeat=goals)
    expected = sum(bool((values >= torch.tensor(far).double() + 1).all(dim=1).any()) for far in cubes)
    # Cubes are [c, c+1] with c from the reference 1 on.
    assert hypervolume(values, [1.0] * goals) == pytest.approx(expected)
    assert hypervolume(values, [9.0] * goals) == 0.0
    assert hypervolume(torch.tensor([[3.0] * goals]).double(), [1.0] * goals) == pytest.approx(2.0**goals)


def test_a_selection_takes_front_after_front_and_then_those_with_room():
    line = torch.tensor([[0.0, 9.0], [1.0, 8.0], [1.1, 7.9], [5.0, 5.0], [9.0, 0.0], [0.0, 0.0]]).double()
    assert sorted(select(line, 5, 0).tolist()) == [0, 1, 2, 3, 4]
    # The ends first, then what stands apart.
    assert set(select(line, 3, 0).tolist()) == {0, 3, 4}
    assert sorted(select(line, 9, 0).tolist()) == list(range(6))


def test_what_does_not_fit_is_refused():
    with pytest.raises(InputError, match=r"got shape \(3,\), expected \(n, quantities\)"):
        front(torch.zeros(3))
    with pytest.raises(InputError, match="1 NaN"):
        front(torch.tensor([[float("nan"), 1.0]]))
    with pytest.raises(InputError, match="expected 2 finite numbers"):
        hypervolume(torch.zeros(1, 2).double(), [0.0])
