"""A table of all genotypes of NAS-Bench-201, in which the better primitive of an edge adds to a cell's accuracy."""

from __future__ import annotations

import csv
import gzip
import itertools
from pathlib import Path

import torch

from base_fast.objectives import Quantity, Table
from base_fast.space import NAS_BENCH_201, decode

WORTH = torch.tensor([0.0, 1.0, 2.0, 4.0, 3.0], dtype=torch.float64)


def all_cells() -> torch.Tensor:
    """(15625, 1, 6)."""
    return torch.tensor(list(itertools.product(range(5), repeat=6))).unsqueeze(1)


def accuracy(choices: torch.Tensor) -> torch.Tensor:
    """50 to 98 per cent; edges count 1, 2, 3, ... so that no two are alike."""
    return 50.0 + (WORTH[choices[:, 0]] * torch.tensor([1.0, 1.5, 2.0, 2.5, 3.0, 2.0], dtype=torch.float64)).sum(1)


def table() -> Table:
    """accuracy, and the same with a small disturbance that is part of the table."""
    choices = all_cells()
    test = accuracy(choices) + torch.rand(len(choices), generator=torch.Generator().manual_seed(0)).double()
    quantities = (Quantity("valid", "larger", "%"), Quantity("test", "larger", "%"))
    return Table(NAS_BENCH_201, choices, quantities, torch.stack((accuracy(choices), test), dim=1))


def write_csv(path: Path) -> Path:
    """The same as a compressed CSV file, and a column `ms` of milliseconds."""
    found = table()
    with gzip.open(path, "wt", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("arch", "valid", "test", "ms"))
        for choices, values in zip(found.choices, found.values.tolist(), strict=True):
            writer.writerow((decode(choices.numpy(), NAS_BENCH_201).compact(), *values, 1 + int(choices.sum())))
    return path
