"""Random search: the baseline that every other search has to beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from torch import Tensor

from base_fast.distributions import Distribution, IndependentEdges
from base_fast.random import advance
from base_fast.space import AnySpace
from base_fast.strategies.strategy import AskTell


class RandomState(NamedTuple):
    key: Tensor
    asked: int


@dataclass(frozen=True)
class RandomSearch(AskTell[RandomState]):
    """Genotypes drawn uniformly, independently of each other and of all values.

    Source: Bergstra & Bengio, "Random Search for Hyper-Parameter Optimization", JMLR 2012; Li & Talwalkar, "Random
    Search and Reproducibility for Neural Architecture Search", UAI 2019.
    """

    goals: ClassVar[int | None] = None

    def start(self, space: AnySpace, key: Tensor) -> RandomState:
        return RandomState(key, 0)

    def ask(self, space: AnySpace, state: RandomState) -> Tensor:
        return self.distribution(space, state).sample(advance(state.key, state.asked), 1)

    def tell(self, space: AnySpace, state: RandomState, choices: Tensor, values: Tensor) -> RandomState:
        return state._replace(asked=state.asked + 1)

    def distribution(self, space: AnySpace, state: RandomState) -> Distribution:
        return IndependentEdges.uniform(space)
