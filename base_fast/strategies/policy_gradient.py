"""The policy gradient of a controller: REINFORCE with a moving baseline and an entropy bonus, an update at a time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from base_fast.arguments import integer, positive, whole_numbers
from base_fast.distributions import Controller, load_distribution
from base_fast.distributions.controller import BOUND, HIDDEN, TEMPERATURE
from base_fast.errors import InputError
from base_fast.meta import StepRule
from base_fast.meta.rules import Slots, initial_slots, step
from base_fast.random import fold_in
from base_fast.space import AnySpace
from base_fast.strategies.memory import Memory, MemoryState


class MovingMean(NamedTuple):
    """An exponential mean that counts the last value, corrected for its start."""

    total: float = 0.0
    weight: float = 0.0

    def after(self, value: float, decay: float) -> MovingMean:
        """The mean that has seen one more value."""
        return MovingMean(decay * self.total + (1.0 - decay) * value, decay * self.weight + (1.0 - decay))

    @property
    def value(self) -> float:
        """Of at least one value."""
        return self.total / self.weight


class PolicyState(NamedTuple):
    """weights (P,) float64 of the controller, Adam's slots, the rewards' mean, and what is remembered."""

    weights: Tensor
    slots: Slots
    baseline: MovingMean
    memory: MemoryState


@dataclass(frozen=True)
class PolicyGradient:
    """Settings of a controller and of how it learns from rewards.

    An update is weights ← weights + Adam(mean over `aggregate` genotypes of ∇ log π(a) · (R + λ·(−log π(a)) − b)).

    The surprise −log π(a), taken as a part of the reward, has the entropy's exact gradient in expectation; the source
    adds the entropies of the decisions instead, as constants, whose gradient is another. The baseline b counts the
    reward at hand, as in the source, which scales R − b by a number that does not depend on R; its start is corrected
    for, where the source begins with b = 0 and pushes every first genotype.

    Source: Pham et al., ENAS, ICML 2018, with Adam as in its code (β₁ = 0).
    """

    lr: float = 0.0035
    """Learning rate of Adam."""
    beta1: float = 0.0
    """Adam's decay of the gradient's mean."""
    decay: float = 0.99
    """Decay of the rewards' exponential mean, the baseline."""
    entropy: float = 1e-4
    """λ, weight of the entropy in nats, in units of the reward."""
    aggregate: int = 10
    """Genotypes of an update."""
    hidden: int = HIDDEN
    """Units of the LSTM."""
    temperature: float = TEMPERATURE
    """Logits are divided by it."""
    bound: float = BOUND
    """Largest logit after that, by tanh."""
    controller: Path | None = None
    """distribution.safetensors of an earlier search with a controller, to go on from; a fresh one if not given."""
    memory: Memory = Memory()

    def __post_init__(self) -> None:
        whole_numbers(self)
        for name in ("aggregate", "hidden"):
            integer(name, getattr(self, name), 1)
        for name in ("lr", "temperature", "bound"):
            positive(name, getattr(self, name))
        for name in ("beta1", "decay"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise InputError(f"{name}: got {getattr(self, name)!r}, expected a number in [0, 1)")
        if self.entropy != 0.0:
            positive("entropy", self.entropy)

    def start(self, space: AnySpace, key: Tensor) -> PolicyState:
        """Before the first update.

        Raises:
            InputError: `controller` is no file of a controller of this space and these settings.
        """
        if self.controller is None:
            weights = Controller.fresh(space, key, **self._shape).weights
        else:
            weights = load_controller(self.controller, space, self._shape).weights.double()
        memory = self.memory.start(space, self.hidden, self._rule, fold_in(key, 0))
        return PolicyState(weights, initial_slots(self._rule, weights), MovingMean(), memory)

    def distribution(self, space: AnySpace, weights: Tensor) -> Controller:
        """The controller with these weights."""
        return Controller(space, weights, **self._shape)

    def update(self, space: AnySpace, state: PolicyState, choices: Tensor, rewards: Tensor) -> PolicyState:
        """After rewards (n,), the larger the better, of genotypes (n, T, E) that the policy of the state drew."""
        weights = state.weights.detach().requires_grad_(True)
        log_prob = self.distribution(space, weights).log_prob(choices)
        advantages, baseline = self.advantages(state.baseline, log_prob.detach(), rewards)
        (gradient,) = torch.autograd.grad(-(advantages * log_prob).mean(), weights)
        memory = self.memory.remember(state.memory, choices)
        forgotten, decoding = self.memory.gradient(memory, self.distribution(space, state.weights))
        moved, slots = step(self._rule, self.lr, weights.detach(), gradient + forgotten, state.slots)
        return PolicyState(moved, slots, baseline, self.memory.moved(memory, decoding, self._rule, self.lr))

    def advantages(self, baseline: MovingMean, log_prob: Tensor, rewards: Tensor) -> tuple[Tensor, MovingMean]:
        """R − λ log π − b (n,) float64, one genotype after another, and the baseline after all of them."""
        found = []
        for reward in (rewards - self.entropy * log_prob).tolist():
            baseline = baseline.after(reward, self.decay)
            found.append(reward - baseline.value)
        return torch.tensor(found, dtype=torch.float64, device="cpu"), baseline

    @property
    def _shape(self) -> dict[str, Any]:
        return {"hidden": self.hidden, "temperature": self.temperature, "bound": self.bound}

    @property
    def _rule(self) -> StepRule:
        return StepRule("adam", self.lr, beta1=self.beta1)


def load_controller(path: Path, space: AnySpace, shape: dict[str, Any] | None = None) -> Controller:
    """The controller of a file, if it is one of this space.

    Args:
        path: distribution.safetensors of a search.
        space: whose genotypes it has to draw.
        shape: `Controller.settings` that it has to have; any if not given.

    Raises:
        InputError: another distribution, of another space, or with other settings; says what to do.
    """
    found = load_distribution(path.expanduser())
    if not isinstance(found, Controller):
        raise InputError(
            f"controller: {path} is a distribution of kind {found.kind!r}, expected a controller, as "
            "strategies enas and enas_sharing leave it"
        )
    if found.space != space:
        raise InputError(
            f"controller: {path} draws genotypes of {found.space.name!r}, expected {space.name!r}; search that space, "
            "or begin with a fresh controller"
        )
    if shape is not None and found.settings() != shape:
        had, asked = (", ".join(f"{k} = {v}" for k, v in one.items()) for one in (found.settings(), shape))
        raise InputError(f"controller: {path} has {had}, expected {asked} as in the settings; give its own there")
    return found
