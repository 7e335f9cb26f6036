"""Tasks on which it is known what a genotype is worth."""

from __future__ import annotations

import torch
from torch import Tensor

from base_fast.distributions import IndependentEdges
from base_fast.objectives import Quantity
from base_fast.predictors import Database
from base_fast.random import fold_in, key
from base_fast.space import NAS_BENCH_201, Space
from base_fast.tasks import FEATURES, TaskDescription

SMALL = Space("small", ("none", "skip_connect", "nor_conv_3x3"), 1, 2, ("normal",), (2,), None)


def described(name: str, bright: float) -> TaskDescription:
    """A task that is bright or dark, in its features and in its images."""
    features = torch.zeros(len(FEATURES), dtype=torch.float64)
    features[FEATURES.index("brightness")] = bright
    images = torch.full((6, 3, 16, 16), int(255 * bright), dtype=torch.uint8)
    return TaskDescription(name, features, images, torch.tensor([0, 0, 1, 1, 2, 2]))


def count(space: Space, choices: Tensor, primitive: str) -> Tensor:
    """(n,) how many edges have the primitive."""
    return (choices == space.primitives.index(primitive)).flatten(1).sum(dim=1).double()


def database(tasks: int = 8, rows: int = 24, space: Space = NAS_BENCH_201) -> Database:
    """On bright tasks convolutions are worth something, on dark ones skip connections."""
    uniform = IndependentEdges.uniform(space)
    descriptions, choices, values = [], [], []
    for task in range(tasks):
        bright = task % 2 == 1
        descriptions.append(described(f"task{task}", 0.2 + 0.6 * bright))
        z = uniform.sample(fold_in(key(task), 0), rows)
        choices.append(z)
        values.append(50.0 * bright + count(space, z, "nor_conv_3x3" if bright else "skip_connect"))
    number = torch.arange(tasks).repeat_interleave(rows)
    return Database(
        space, Quantity("accuracy", "larger", "%"), tuple(descriptions), number, torch.cat(choices), torch.cat(values)
    )
