"""What searches found, looked up in a table: values and ranks, what their distributions promise, what they cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from base_fast.distributions import Distribution, IndependentEdges
from base_fast.objectives import Quantity, Table
from base_fast.random import key
from base_fast.space import encode
from base_fast.space.space import SKIP
from base_fast.strategies import Cost

POINTS = 40
"""The most points of a learning curve."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Place:
    """Of a genotype in a column. rank: 1 is the best of the table. percentile: the share of strictly better ones, %."""

    value: float
    rank: int
    percentile: float


@dataclass(frozen=True)
class Point:
    """A point of a learning curve, by column.

    Attributes:
        step: queries, or steps of the search.
        values: of the genotype that the search would choose then.
        expected: E_π of the distribution then; empty where it is not known.
    """

    step: int
    values: dict[str, float]
    expected: dict[str, float]


@dataclass(frozen=True)
class Finding:
    """What one search found.

    Attributes:
        strategy: name of the entrant.
        places: of its genotype, by column.
        expected: E_π[value], the mean over genotypes drawn from its last distribution, by column; empty where the
            table lacks some of them.
        skips: skip connections of the genotype; None in a space that has none.
        unit: of its steps.
        spent: as in `strategies.Result`.
        cost: None for a published cell; the memory is 0 where it was not measured.
    """

    strategy: str
    seed: int
    genotype: str
    places: dict[str, Place]
    expected: dict[str, float]
    skips: int | None
    unit: str
    curve: tuple[Point, ...]
    spent: dict[str, float]
    cost: Cost | None


@dataclass(frozen=True)
class Judge:
    """Looks genotypes and distributions up in the columns of a table."""

    table: Table
    columns: tuple[str, ...]

    @property
    def quantities(self) -> tuple[Quantity, ...]:
        """The columns as quantities."""
        by_name = {quantity.name: quantity for quantity in self.table.quantities}
        return tuple(by_name[name] for name in self.columns)

    def places(self, genotype: str) -> dict[str, Place]:
        """Of a genotype, by column.

        Raises:
            InputError: the table has no row for it.
        """
        choices = torch.from_numpy(encode(genotype, self.table.space)).unsqueeze(0)
        values = self._named(self.table.measure(choices, key(0)).values[0].tolist())
        ranks = {name: int(self.table.ranks(name, choices)) for name in self.columns}
        return {name: Place(values[name], ranks[name], 100.0 * (ranks[name] - 1) / len(self.table)) for name in ranks}

    def expected(self, distribution: Distribution) -> dict[str, float]:
        """E_π[value] by column, over all genotypes; empty where the table lacks some."""
        found = self.table.expected(distribution)
        return {} if found is None else self._named(found.tolist())

    def skips(self, genotype: str) -> int | None:
        """Skip connections of a genotype, over all cell types."""
        space = self.table.space
        if SKIP not in space.primitives:
            return None
        return int((encode(genotype, space) == list(space.primitives).index(SKIP)).sum())

    def best_so_far(self, history: Sequence[Row], goal: Quantity) -> tuple[Point, ...]:
        """The curve of a search that measures genotypes: of the best by its own measure, before and at each change."""
        points: list[Point] = []
        best = None
        for row in history:
            worth = goal.sign * row["values"][goal.name]
            if best is None or worth > best:
                best = worth
                if points and row["step"] - 1 > points[-1].step:
                    points.append(Point(row["step"] - 1, points[-1].values, {}))
                points.append(Point(row["step"], self._values(row["genotype"]), {}))
        if points and points[-1].step < history[-1]["step"]:
            points.append(Point(history[-1]["step"], points[-1].values, {}))
        return tuple(points)

    def course(self, rows: Sequence[Row]) -> tuple[Point, ...]:
        """The curve of a search that says now and then what independent edges' `probabilities` (T, E, L) it has."""
        told = [row for row in rows if "probabilities" in row]
        kept = {round(i * (len(told) - 1) / max(POINTS - 1, 1)) for i in range(POINTS)}
        points = []
        for row in (row for i, row in enumerate(told) if i in kept or len(told) <= POINTS):
            p = torch.tensor(row["probabilities"], dtype=torch.float64, device="cpu")
            q = IndependentEdges(self.table.space, p.clamp_min(torch.finfo(p.dtype).tiny).log())
            derived = row.get("derived")
            places = self._values(derived) if derived else self._values_of(q)
            points.append(Point(row["step"], places, self.expected(q)))
        return tuple(points)

    def _values_of(self, q: Distribution) -> dict[str, float]:
        return self._named(self.table.measure(q.mode().unsqueeze(0), key(0)).values[0].tolist())

    def _values(self, genotype: str) -> dict[str, float]:
        return {name: place.value for name, place in self.places(genotype).items()}

    def _named(self, values: Sequence[float]) -> dict[str, float]:
        by_name = dict(zip((quantity.name for quantity in self.table.quantities), values, strict=True))
        return {name: by_name[name] for name in self.columns}
