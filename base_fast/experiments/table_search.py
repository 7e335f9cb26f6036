"""Searches side by side on a table: as many queries for each, judged by another column, over many seeds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import fmean, median, stdev
from typing import Any

import torch

from base_fast.arguments import integer
from base_fast.errors import InputError
from base_fast.objectives import Table
from base_fast.random import key
from base_fast.runs import progress
from base_fast.space import encode
from base_fast.strategies import AskTell, AskTellSearch, search

BOOTSTRAPS = 10_000


@dataclass(frozen=True)
class Found:
    """What one search found: its genotype's value and rank in the judging column, how many genotypes it asked for."""

    seed: int
    genotype: str
    value: float
    rank: int
    genotypes: int


@dataclass(frozen=True)
class Scores:
    """A strategy over all seeds.

    Attributes:
        interval: 95 % of the mean value, by bootstrap over the seeds.
    """

    strategy: str
    found: tuple[Found, ...]
    interval: tuple[float, float]

    @property
    def mean(self) -> float:
        """Of the values in the judging column."""
        return fmean(found.value for found in self.found)

    @property
    def deviation(self) -> float:
        """Their standard deviation; 0 for a single seed."""
        return stdev([found.value for found in self.found]) if len(self.found) > 1 else 0.0

    @property
    def median_rank(self) -> float:
        """Of the ranks; 1 is the best of the table."""
        return median(found.rank for found in self.found)


def compare_on_table(
    table: Table, strategies: Mapping[str, AskTell[Any]], query: str, judge: str, queries: int, seeds: int
) -> list[Scores]:
    """Run every strategy with seed 0, 1, ... on the column `query`; of what it finds best there, read off `judge`.

    Raises:
        InputError: no seeds, or a column that the table lacks.
    """
    seeds = integer("seeds", seeds, 1)
    names = [quantity.name for quantity in table.quantities]
    if judge not in names:
        raise InputError(f"judge: got {judge!r}, expected one of {', '.join(names)}")
    scores = []
    with one_thread(), progress("searches", len(strategies) * seeds) as bar:
        for name, strategy in strategies.items():
            found = []
            for seed in range(seeds):
                result = search(AskTellSearch(strategy, table, queries, key(seed), (query,)), name=name)
                choices = torch.from_numpy(encode(result.genotype, table.space)).unsqueeze(0)
                value = table.measure(choices, key(0)).values[0, names.index(judge)].item()
                rank = int(table.ranks(judge, choices))
                found.append(Found(seed, result.genotype.compact(), value, rank, int(result.spent["genotypes"])))
                bar.advance(1, strategy=name)
            scores.append(Scores(name, tuple(found), mean_interval([one.value for one in found])))
    return scores


@contextmanager
def one_thread() -> Iterator[None]:
    """Tensors of some thirty numbers: several threads would spend their time waiting for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def mean_interval(values: Sequence[float]) -> tuple[float, float]:
    """95 % interval of the mean, by bootstrap with fixed draws; a point for a single value."""
    x = torch.tensor(values, dtype=torch.float64, device="cpu")
    drawn = torch.randint(len(x), (BOOTSTRAPS, len(x)), generator=torch.Generator().manual_seed(0), device="cpu")
    low, high = x[drawn].mean(dim=1).quantile(torch.tensor([0.025, 0.975], dtype=torch.float64, device="cpu")).tolist()
    return low, high
