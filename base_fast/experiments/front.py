"""The front of what was measured, by a search or in tables: the genotypes that no other one beats in all goals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from base_fast.arguments import integer
from base_fast.errors import InputError
from base_fast.objectives import Quantity, TableConfig, Together, front, hypervolume
from base_fast.random import key
from base_fast.space import AnySpace, Space, compact, encode, from_dict_any, get_any
from base_fast.space.connected import connected
from base_fast.strategies import SearchRecord


@dataclass(frozen=True)
class Point:
    """A genotype, as text, with its values in the order of the quantities."""

    genotype: str
    values: tuple[float, ...]


@dataclass(frozen=True)
class Front:
    """front.json: what is on the front, and of how many.

    Attributes:
        space: `Space.to_dict`.
        quantities: what was measured; the first `goals` of them are what the front is of.
        reference: a value of each goal, from which the hypervolume counts.
        hypervolume: in the product of the goals' units.
        points: on the front, best in the first goal first.
        measured: how many genotypes there were.
        left_out: how many of them connect nothing, and were not looked at.
        others: values in the goals of some that are not on the front, for a picture.
    """

    space: dict[str, Any]
    quantities: tuple[Quantity, ...]
    goals: int
    reference: tuple[float, ...]
    hypervolume: float
    points: tuple[Point, ...]
    measured: int
    left_out: int
    others: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class FrontConfig:
    """What a front is of."""

    goals: tuple[str, ...] = ()
    """Quantities of the front, two or more; those of the search if not given."""
    reference: tuple[float, ...] = ()
    """Value of each goal from which the hypervolume counts; the worst that was measured if not given."""
    connected: bool = True
    """Leave out cells that connect nothing to their output: they are fast and compute nothing."""
    tables: tuple[TableConfig, ...] = ()
    """Tables of genotypes and values instead of a search."""
    space: str | Space = "nas_bench_201"
    """The space of the tables."""


# The most points of a picture that are not on the front.
SHOWN = 2000


def front_of(
    space: AnySpace, choices: Tensor, quantities: Sequence[Quantity], values: Tensor, config: FrontConfig
) -> Front:
    """The front of genotypes (n, T, E) with values (n, Q).

    Raises:
        InputError: fewer than two goals, an unknown one, a reference of another length, or nothing that connects.
    """
    names = [quantity.name for quantity in quantities]
    goals = config.goals or tuple(names)
    for goal in goals:
        if goal not in names:
            raise InputError(f"goals: got {goal!r}, expected some of {', '.join(names)}")
    if len(goals) < 2 or len(set(goals)) != len(goals):
        raise InputError(f"goals: got {', '.join(goals)}, expected two different ones or more of {', '.join(names)}")
    if config.reference and len(config.reference) != len(goals):
        raise InputError(f"reference: got {len(config.reference)} numbers, expected {len(goals)}: one for each goal")
    kept = torch.ones(len(choices), dtype=torch.bool, device="cpu")
    if config.connected:
        kept = torch.from_numpy(connected(choices.numpy(), space))
    if not bool(kept.any()):
        raise InputError("connected: no genotype connects its inputs to its output, expected at least one")
    order = [names.index(goal) for goal in goals] + [i for i, name in enumerate(names) if name not in goals]
    ordered = tuple(quantities[i] for i in order)
    values, choices = values[kept][:, order], choices[kept]
    signs = torch.tensor([quantity.sign for quantity in ordered[: len(goals)]], dtype=torch.float64, device="cpu")
    signed = values[:, : len(goals)] * signs
    reference = config.reference or tuple((signed.min(dim=0).values * signs).tolist())
    volume = hypervolume(signed, (torch.tensor(reference, dtype=torch.float64, device="cpu") * signs).tolist())
    rows = front(signed)
    points = tuple(Point(compact(choices[i].numpy(), space), tuple(values[i].tolist())) for i in rows.tolist())
    rest = np.setdiff1d(np.arange(len(values)), rows.numpy())
    rest = rest[:: max(1, -(-len(rest) // SHOWN))]
    others = tuple(tuple(row) for row in values[rest][:, : len(goals)].tolist())
    left_out = int((~kept).sum())
    return Front(
        space.to_dict(), ordered, len(goals), reference, volume, points, len(values) + left_out, left_out, others
    )


def front_of_search(record: SearchRecord, config: FrontConfig) -> Front:
    """The front of everything that a search measured.

    Raises:
        InputError: see `front_of`; a search that names no genotypes.
    """
    space = from_dict_any(record.space)
    rows = {row["genotype"]: row for row in record.history if "genotype" in row}
    if not rows:
        raise InputError(f"run: {record.strategy} measured distributions, not genotypes; expected a search that asks")
    choices = torch.from_numpy(np.stack([encode(genotype, space) for genotype in rows]))
    names = [quantity.name for quantity in record.quantities]
    values = torch.tensor(
        [[row["values"][name] for name in names] for row in rows.values()], dtype=torch.float64, device="cpu"
    )
    return front_of(space, choices, record.quantities, values, config)


def front_of_tables(config: FrontConfig) -> Front:
    """The front of tables' rows: of the genotypes of the first one, which the others have to have as well.

    Raises:
        InputError: see `front_of` and `Table.read`.
    """
    if not config.tables:
        raise InputError("tables: got none, expected a run folder of a search, or tables")
    space = get_any(config.space)
    tables = [table.open(space) for table in config.tables]
    choices = tables[0].choices
    integer("tables", len(choices), 1)
    together = Together(tables)
    return front_of(space, choices, together.quantities, together.measure(choices, key(0)).values, config)
