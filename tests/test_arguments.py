"""Whole numbers from NumPy and PyTorch are taken for what they are; bools and floats are refused, wherever one asks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import base_fast as bf
from base_fast.arguments import integer
from base_fast.errors import InputError
from base_fast.evaluation import TrainConfig
from base_fast.runs import to_dict
from base_fast.tasks import ArraySource

SOURCE = ArraySource("noise", torch.zeros(30, 3, 8, 8, dtype=torch.uint8), [i % 3 for i in range(30)])


@pytest.mark.parametrize("value", [3, np.int64(3), np.uint8(3), torch.tensor(3), np.array(3)])
def test_whole_numbers(value: Any) -> None:
    assert type(integer("n", value)) is int
    assert integer("n", value, 3, 3) == 3


@pytest.mark.parametrize(
    "value", [True, np.True_, torch.tensor(True), 3.0, np.float64(3), "3", None, [3], torch.tensor([3, 4]), np.ones(2)]
)
def test_others(value: Any) -> None:
    with pytest.raises(InputError, match="^n: got .*, expected an integer ≥ 1$"):
        integer("n", value, 1)


def test_ranges() -> None:
    with pytest.raises(InputError, match="^n: got 4, expected an integer from 1 to 3$"):
        integer("n", 4, 1, 3)
    with pytest.raises(InputError, match="^n: got 4, expected an integer ≤ 3$"):
        integer("n", np.int64(4), most=3)


EDGE = bf.nn.MixedOp(2)
X, Z = torch.randn(2, 2, 4, 4), torch.ones(8)
# Everything that is called with a whole number n, for which 4 is right.
ASKED: dict[str, Callable[[Any], Any]] = {
    "key": bf.random.key,
    "fold_in": lambda n: bf.random.fold_in(bf.random.key(0), n),
    "advance": lambda n: bf.random.advance(bf.random.key(0), n),
    "MixedOp": lambda n: bf.nn.MixedOp(n),
    "chosen": lambda n: EDGE(X, Z, chosen=n),
    "Network": lambda n: bf.Network(bf.space.genotypes.DARTS_V2, n, 1, n),
    "Supernet": lambda n: bf.Supernet(bf.space.DARTS.with_nodes(2), channels=n, layers=n, num_classes=n),
    "with_nodes": bf.space.DARTS.with_nodes,
    "BayesianLinear": lambda n: bf.nn.BayesianLinear(n, n),
    "BayesianConv2d": lambda n: bf.nn.BayesianConv2d(n, n, 3),
    "dataset_size": lambda n: bf.nn.kl(bf.nn.BayesianLinear(2, 2), dataset_size=n),
    "count_macs": lambda n: bf.count_macs(torch.nn.Conv2d(3, 2, 1), (3, n, n)),
    "whole_task": lambda n: bf.whole_task(SOURCE, resolution=n, key=bf.random.key(0)),
    "candidates": lambda n: bf.distributions.IndependentEdges.uniform(bf.space.DARTS.with_nodes(2)).candidates(n),
    "TrainConfig": lambda n: TrainConfig(steps=n, batch_size=n),
    "AdaptConfig": lambda n: bf.AdaptConfig(budget=bf.Budget(steps=n), warmup=n),
    "MetaConfig": lambda n: bf.MetaConfig(iterations=n, supernet=bf.SupernetConfig(channels=n)),
}


@pytest.mark.parametrize("name", ASKED)
def test_wherever_a_number_is_asked_for(name: str) -> None:
    ask = ASKED[name]
    ask(np.int64(4))
    for wrong in (True, 4.0):
        with pytest.raises(InputError, match=r"expected an? (integer|whole)"):
            ask(wrong)


def test_configurations_hold_numbers_of_pythons_own() -> None:
    config = TrainConfig(steps=np.int64(4), lr=np.float32(0.5))  # type: ignore[arg-type]
    assert type(config.steps) is int
    assert config == TrainConfig(steps=4, lr=0.5)
    assert type(to_dict(config)["lr"]) is float
