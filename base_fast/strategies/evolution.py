"""Regularized evolution: the oldest of a population dies, whatever it is worth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from base_fast.arguments import whole_numbers
from base_fast.distributions import Distribution, Empirical, IndependentEdges
from base_fast.errors import InputError
from base_fast.random import advance
from base_fast.reference import philox
from base_fast.space import AnySpace, neighbours
from base_fast.strategies.strategy import AskTell


class EvolutionState(NamedTuple):
    """population (p, T, E), oldest first, and its values (p,)."""

    key: Tensor
    asked: int
    population: Tensor
    values: Tensor


@dataclass(frozen=True)
class Evolution(AskTell[EvolutionState]):
    """Aging evolution: the best of a random sample of the population has a child, and the oldest member leaves.

    A child is one of its parent's neighbours, all equally likely (`space.neighbours`): another primitive on an edge, or
    one of a node's edges exchanged for another. The source draws the kind of change first; where all edges are kept,
    as in NAS-Bench-201, there is one kind only, and both are the same.

    The defaults suit a budget of some hundred queries; the source has a population of 100 and samples of 25 for
    20,000.

    Source: Real, Aggarwal, Huang, Le, "Regularized Evolution for Image Classifier Architecture Search", AAAI 2019.
    """

    population: int = 10
    """Number of members; as many random genotypes come first."""
    sample: int = 3
    """Members drawn, with replacement, of which the best has a child."""

    def __post_init__(self) -> None:
        whole_numbers(self)
        for name in ("population", "sample"):
            if getattr(self, name) < 1:
                raise InputError(f"{name}: got {getattr(self, name)}, expected an integer ≥ 1")

    def start(self, space: AnySpace, key: Tensor) -> EvolutionState:
        none = torch.empty(0, len(space.cell_types), space.num_edges, dtype=torch.int64, device="cpu")
        return EvolutionState(key, 0, none, torch.empty(0, dtype=torch.float64, device="cpu"))

    def ask(self, space: AnySpace, state: EvolutionState) -> Tensor:
        key = advance(state.key, state.asked)
        if len(state.population) < self.population:
            return IndependentEdges.uniform(space).sample(key, 1)
        u = philox.uniform(key, self.sample + 1).double()
        drawn = (u[:-1] * len(state.population)).long()
        parent = state.population[drawn[state.values[drawn].argmax()]]
        children = neighbours(parent.numpy(), space)
        return torch.from_numpy(children[int(u[-1] * len(children))]).unsqueeze(0)

    def tell(self, space: AnySpace, state: EvolutionState, choices: Tensor, values: Tensor) -> EvolutionState:
        return EvolutionState(
            state.key,
            state.asked + 1,
            torch.cat((state.population, choices))[-self.population :],
            torch.cat((state.values, values[:, 0]))[-self.population :],
        )

    def distribution(self, space: AnySpace, state: EvolutionState) -> Distribution:
        if len(state.population) == 0:
            return IndependentEdges.uniform(space)
        return Empirical(space, state.population)
