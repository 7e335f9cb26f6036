"""NSGA-II, for several goals at once, by pymoo."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from base_fast.arguments import whole_numbers
from base_fast.distributions import Distribution, Empirical, IndependentEdges
from base_fast.errors import InputError
from base_fast.objectives.pareto import front, pymoo
from base_fast.random import advance, fold_in
from base_fast.space import AnySpace, neighbours
from base_fast.space.parts import from_parts, sizes, to_parts
from base_fast.strategies.strategy import AskTell

SEEDS = 2**31


class Nsga2State(NamedTuple):
    """population (p, T, E) and values (p · G,), one genotype's goals after another's: G is known with the first."""

    key: Tensor
    asked: int
    population: Tensor
    values: Tensor


@dataclass(frozen=True)
class Nsga2(AskTell[Nsga2State]):
    """Parents win binary tournaments by front, then by the room around them; children are crossed and mutated.

    Crossover is uniform over the independent parts of a genotype (`space.parts`), and a mutation makes one of its
    neighbours of a child, as in `Evolution`. pymoo's algorithm is told the population and asked for children anew in
    every generation, with a seed from the key, so that the population is all that there is to keep. The sizes suit a
    budget of some hundred queries.

    Source: Deb, Pratap, Agarwal, Meyarivan, "A fast and elitist multiobjective genetic algorithm: NSGA-II", IEEE Trans.
    Evolutionary Computation 2002; Blank & Deb, "pymoo: Multi-Objective Optimization in Python", IEEE Access 2020.
    """

    goals: ClassVar[int | None] = None

    population: int = 20
    """Number of members; as many random genotypes come first."""
    children: int = 10
    """Children of a generation."""

    def __post_init__(self) -> None:
        whole_numbers(self)
        for name in ("population", "children"):
            if getattr(self, name) < 2:
                raise InputError(f"{name}: got {getattr(self, name)}, expected an integer ≥ 2")

    def start(self, space: AnySpace, key: Tensor) -> Nsga2State:
        pymoo("algorithms.moo.nsga2")
        none = torch.empty(0, len(space.cell_types), space.num_edges, dtype=torch.int64, device="cpu")
        return Nsga2State(key, 0, none, torch.empty(0, dtype=torch.float64, device="cpu"))

    def ask(self, space: AnySpace, state: Nsga2State) -> Tensor:
        if len(state.population) == 0:
            return IndependentEdges.uniform(space).sample(advance(state.key, 0), self.population)
        _, children = self._generation(space, state)
        # A space so small that nothing new is left to cross or to mutate.
        return IndependentEdges.uniform(space).sample(self._key(state), 1) if children is None else children

    def tell(self, space: AnySpace, state: Nsga2State, choices: Tensor, values: Tensor) -> Nsga2State:
        asked = state.asked + len(choices)
        if len(state.population) == 0:
            return Nsga2State(state.key, asked, choices, values.flatten())
        algorithm, children = self._generation(space, state)
        if children is None:
            return state._replace(asked=asked)
        algorithm.off.set("F", -values.numpy())
        algorithm.tell(infills=algorithm.off)
        population = torch.from_numpy(from_parts(algorithm.pop.get("X"), space))
        return Nsga2State(state.key, asked, population, torch.from_numpy(-algorithm.pop.get("F")).flatten())

    def distribution(self, space: AnySpace, state: Nsga2State) -> Distribution:
        if len(state.population) == 0:
            return IndependentEdges.uniform(space)
        return Empirical(space, state.population[front(state.values.view(len(state.population), -1))])

    def _key(self, state: Nsga2State) -> Tensor:
        return advance(state.key, state.asked)

    def _generation(self, space: AnySpace, state: Nsga2State) -> tuple[Any, Tensor | None]:
        """pymoo's algorithm with the children (`off`) of the state's population, and these as choices."""
        values = state.values.view(len(state.population), -1).numpy()
        parents = pymoo("core.population").Population.new(X=to_parts(state.population.numpy(), space), F=-values)
        algorithm = pymoo("algorithms.moo.nsga2").NSGA2(
            pop_size=self.population,
            n_offsprings=self.children,
            sampling=parents,
            crossover=pymoo("operators.crossover.ux").UniformCrossover(),
            mutation=_mutation(space),
            # Twins among the first random ones are dropped here, and children that are there already.
            eliminate_duplicates=True,
            seed=int(fold_in(self._key(state), 0)[0]) % SEEDS,
            termination=pymoo("core.termination").NoTermination(),
        )
        most = sizes(space) - 1
        algorithm.setup(
            pymoo("core.problem").Problem(len(most), values.shape[1], xl=np.zeros_like(most), xu=most, vtype=int)
        )
        algorithm.tell(infills=algorithm.ask())
        algorithm.off = algorithm.ask()
        if algorithm.off is None:
            return algorithm, None
        return algorithm, torch.from_numpy(from_parts(algorithm.off.get("X").astype(np.int64), space))


def _mutation(space: AnySpace) -> Any:
    """An operator of pymoo: one of a child's neighbours, all equally likely."""

    class Neighbour(pymoo("core.mutation").Mutation):  # type: ignore[misc]
        def _do(self, problem: Any, X: Any, *args: Any, random_state: Any = None, **kwargs: Any) -> Any:
            changed = []
            for choices in from_parts(X.astype(np.int64), space):
                others = neighbours(choices, space)
                changed.append(others[random_state.integers(len(others))])
            return to_parts(np.stack(changed), space)

    return Neighbour()
