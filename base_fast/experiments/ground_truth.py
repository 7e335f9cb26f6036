"""Where cells stand in a benchmark's table of all cells of their space."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from base_fast.distributions import Distribution
from base_fast.errors import InputError
from base_fast.objectives import Table, TableConfig
from base_fast.random import key
from base_fast.space import AnyGenotype, Space, encode

SAMPLES = 1000
TOP = 1.0


@dataclass(frozen=True)
class Placed:
    """A cell, and the distribution that it was read off, in one column of a table.

    Attributes:
        name: of the contender: "prior-seed0", "random-seed0-1"; "meta-seed0" is the prior itself, at its mode.
        rank: 1 is the best of the table.
        percentile: share of strictly better cells, in per cent.
        mean_percentile, top_share: of cells sampled from the distribution: their mean percentile, and which share of
            them is in the top per cent; None for a cell without a distribution.
    """

    name: str
    column: str
    rank: int
    percentile: float
    mean_percentile: float | None
    top_share: float | None


@dataclass(frozen=True)
class Placements:
    """placements.json: of `cells` cells in the table."""

    cells: int
    placed: tuple[Placed, ...]


def open_tables(configs: Sequence[TableConfig], space: Space) -> list[Table]:
    """The tables, each of all cells of the space.

    Raises:
        InputError: a file cannot be read, or has only some of the cells.
    """
    tables = [config.open(space) for config in configs]
    number = space.num_primitives**space.num_edges
    for config, table in zip(configs, tables, strict=True):
        if space.arity is not None or len(space.cell_types) > 1 or len(table) != number:
            raise InputError(f"tables: {config.path} has {len(table)} cells, expected all cells of {space.name}")
    return tables


def placed(
    tables: Sequence[Table], name: str, genotype: AnyGenotype, q: Distribution | None = None
) -> Iterator[Placed]:
    """Where a genotype, and cells sampled from q, stand in each column of the tables."""
    for table in tables:
        cell = torch.from_numpy(encode(genotype, table.space)).unsqueeze(0)
        cells = cell if q is None else torch.cat((cell, q.sample(key(0), SAMPLES)))
        for quantity in table.quantities:
            ranks = table.ranks(quantity.name, cells)
            # Ranks count from 1: what is better than a cell is one less.
            better = 100.0 * (ranks - 1).double() / len(table)
            mean = None if q is None else better[1:].mean().item()
            top = None if q is None else (better[1:] < TOP).double().mean().item()
            yield Placed(name, quantity.name, int(ranks[0]), better[0].item(), mean, top)
