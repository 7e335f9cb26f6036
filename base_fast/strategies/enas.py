"""ENAS's controller as a search that sees values only: an LSTM, moved by the policy gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from base_fast.distributions import Distribution
from base_fast.random import advance, fold_in
from base_fast.space import AnySpace
from base_fast.strategies.policy_gradient import PolicyGradient, PolicyState
from base_fast.strategies.strategy import AskTell


class EnasState(NamedTuple):
    """The policy, and how many genotypes it was asked for."""

    key: Tensor
    asked: int
    policy: PolicyState


@dataclass(frozen=True)
class Enas(AskTell[EnasState]):
    """An LSTM controller (`distributions.Controller`) that learns from the values of the genotypes that it draws.

    The source has Adam's rate 0.0035, ten genotypes an update and a decay of 0.99, for thousands of updates on cheap
    values; the defaults here suit a budget of some hundred queries.

    Source: Zoph & Le, "Neural Architecture Search with Reinforcement Learning", ICLR 2017; Pham, Guan, Zoph, Le, Dean,
    "Efficient Neural Architecture Search via Parameter Sharing", ICML 2018.
    """

    policy: PolicyGradient = PolicyGradient(lr=0.01, decay=0.9, aggregate=1)
    """The controller, and how it learns. The reward is in the goal's unit."""

    def start(self, space: AnySpace, key: Tensor) -> EnasState:
        return EnasState(fold_in(key, 1), 0, self.policy.start(space, fold_in(key, 0)))

    def ask(self, space: AnySpace, state: EnasState) -> Tensor:
        return self.distribution(space, state).sample(advance(state.key, state.asked), self.policy.aggregate)

    def tell(self, space: AnySpace, state: EnasState, choices: Tensor, values: Tensor) -> EnasState:
        moved = self.policy.update(space, state.policy, choices, values[:, 0])
        return EnasState(state.key, state.asked + len(choices), moved)

    def distribution(self, space: AnySpace, state: EnasState) -> Distribution:
        return self.policy.distribution(space, state.policy.weights)
