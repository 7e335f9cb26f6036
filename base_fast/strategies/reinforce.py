"""REINFORCE on independent edges: the policy gradient without a controller."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from base_fast.distributions import Distribution, IndependentEdges
from base_fast.errors import InputError
from base_fast.meta import StepRule
from base_fast.meta.rules import Slots, initial_slots, step
from base_fast.random import advance, fold_in
from base_fast.reference import philox
from base_fast.space import AnySpace
from base_fast.strategies.policy_gradient import MovingMean
from base_fast.strategies.strategy import AskTell

INITIAL_SCALE = 1e-3


class ReinforceState(NamedTuple):
    """logits (T, E, L), Adam's slots, and the rewards' mean."""

    key: Tensor
    asked: int
    logits: Tensor
    slots: Slots
    baseline: MovingMean


@dataclass(frozen=True)
class Reinforce(AskTell[ReinforceState]):
    """One genotype a step, logits ← logits + Adam(∇ log p(z) · (R − b)), b an exponential mean of the rewards.

    The baseline counts the reward at hand, and its start is corrected for, as in the source. Adam makes the steps blind
    to the rewards' scale. The source's learning rate of 0.5 is past the good range on tables of short trainings; 0.1
    is the default here.

    Source: Williams, "Simple statistical gradient-following algorithms for connectionist reinforcement learning",
    Machine Learning 1992; policy and settings as in Dong, Liu, Musial, Gabrys, "NATS-Bench", TPAMI 2021.
    """

    lr: float = 0.1
    """Learning rate of Adam."""
    decay: float = 0.9
    """Decay of the rewards' exponential mean."""

    def __post_init__(self) -> None:
        if not 0.0 < self.lr < math.inf:
            raise InputError(f"lr: got {self.lr!r}, expected a finite number > 0")
        if not 0.0 <= self.decay < 1.0:
            raise InputError(f"decay: got {self.decay!r}, expected a number in [0, 1)")

    def start(self, space: AnySpace, key: Tensor) -> ReinforceState:
        shape = (len(space.cell_types), space.num_edges, space.num_primitives)
        logits = INITIAL_SCALE * philox.normal(fold_in(key, 0), math.prod(shape)).double().view(shape)
        return ReinforceState(fold_in(key, 1), 0, logits, initial_slots(self._rule, logits), MovingMean())

    def ask(self, space: AnySpace, state: ReinforceState) -> Tensor:
        return self.distribution(space, state).sample(advance(state.key, state.asked), 1)

    def tell(self, space: AnySpace, state: ReinforceState, choices: Tensor, values: Tensor) -> ReinforceState:
        reward = values[0, 0].item()
        baseline = state.baseline.after(reward, self.decay)
        logits = state.logits.detach().requires_grad_(True)
        loss = -IndependentEdges(space, logits).log_prob(choices).sum() * (reward - baseline.value)
        (gradient,) = torch.autograd.grad(loss, logits)
        moved, slots = step(self._rule, self.lr, logits.detach(), gradient, state.slots)
        return ReinforceState(state.key, state.asked + 1, moved, slots, baseline)

    def distribution(self, space: AnySpace, state: ReinforceState) -> Distribution:
        return IndependentEdges(space, state.logits)

    @property
    def _rule(self) -> StepRule:
        return StepRule("adam", self.lr)
