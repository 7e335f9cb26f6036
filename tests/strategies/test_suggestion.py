"""Suggestions of a value network: the ascent finds the best that there is, and leaves a distribution like any other."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from base_fast.distributions import Empirical, IndependentEdges, load_distribution, save_distribution
from base_fast.errors import InputError
from base_fast.objectives import Quantity
from base_fast.predictors import AscentConfig, Database, ValueConfig, climb, fit
from base_fast.random import key
from base_fast.space import DARTS, NAS_BENCH_201, Space, encode, kept
from base_fast.strategies.suggestion import suggest
from base_fast.tasks import TaskDescription

CONFIG = ValueConfig(members=2, genotype=8, hidden=16, steps=100, batch=64, lr=1e-2, task="none")
TASK = TaskDescription.of_numbers("new")


def database(space: Space, primitive: str) -> Database:
    cells = IndependentEdges.uniform(space).sample(key(0), 60)
    worth = (cells == space.primitives.index(primitive)).flatten(1).sum(dim=1).double()
    return Database(space, Quantity("a", "larger", ""), (TASK,), torch.zeros(60, dtype=torch.int64), cells, worth)


def test_the_ascent_ends_at_the_best_genotype() -> None:
    network = fit(database(NAS_BENCH_201, "nor_conv_3x3"), CONFIG)
    climbed = climb(network, TASK)
    everything = torch.cartesian_prod(*[torch.arange(5)] * 6).unsqueeze(1)
    best = network.value(everything, TASK).max().item()
    assert climbed.values[0].item() >= best - 0.1
    assert bool((climbed.discrete >= climbed.relaxed - 0.1).double().mean() >= 0.9)
    assert climbed.trace[-1, 0] > climbed.trace[0, 0] and climbed.trace[-1, 1] < climbed.trace[0, 1]
    assert torch.equal(climbed.values, climbed.values.sort(descending=True).values)


def test_the_result_is_a_distribution_over_what_was_found(tmp_path: Path) -> None:
    network = fit(database(NAS_BENCH_201, "skip_connect"), CONFIG)
    result = suggest(network, TASK, AscentConfig(starts=4, steps=5, temperature=0.5))
    climbed = climb(network, TASK, AscentConfig(starts=4, steps=5, temperature=0.5))
    p = result.distribution.log_prob(climbed.choices).exp()
    assert torch.allclose(p, torch.softmax(climbed.values.double() / 0.5, dim=0))
    assert torch.equal(torch.from_numpy(encode(result.genotype, NAS_BENCH_201)), climbed.choices[0])
    assert torch.equal(result.distribution.mode(), climbed.choices[0])
    assert [row["step"] for row in result.history] == list(range(1, len(climbed.values) + 1))
    save_distribution(tmp_path / "d.safetensors", result.distribution)
    read = load_distribution(tmp_path / "d.safetensors")
    assert torch.equal(read.sample(key(1), 9), result.distribution.sample(key(1), 9))


def test_cells_of_darts_are_genotypes() -> None:
    network = fit(database(DARTS, "sep_conv_3x3"), ValueConfig(members=1, genotype=4, hidden=8, steps=5, task="none"))
    climbed = climb(network, TASK, AscentConfig(starts=2, steps=3))
    assert kept(climbed.choices.numpy(), DARTS).all()


def test_an_empirical_distribution_may_be_weighted() -> None:
    cells = IndependentEdges.uniform(NAS_BENCH_201).sample(key(3), 3).unique(dim=0)
    three = torch.cat((cells[:2], cells[:1]))
    p = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
    d = Empirical(NAS_BENCH_201, three, p)
    assert torch.allclose(d.log_prob(cells[:2]).exp(), torch.tensor([0.5, 0.5]).double())
    assert d.entropy().item() == pytest.approx(math.log(2))
    assert d.marginals().sum().item() == pytest.approx(6.0)
    drawn = d.sample(key(0), 4000)
    assert (drawn == cells[0]).flatten(1).all(dim=1).double().mean().item() == pytest.approx(0.5, abs=0.03)
    for bad in (torch.tensor([0.5, 0.5]).double(), torch.tensor([0.5, 0.4, 0.2]).double(), p.float()):
        with pytest.raises(InputError, match="probabilities: got"):
            Empirical(NAS_BENCH_201, three, bad)
