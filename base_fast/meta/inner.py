"""The inner loop: a task's posterior starts at the prior and takes gradient steps on the negative ELBO."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from base_fast import ops
from base_fast.errors import Diverged
from base_fast.meta import rules
from base_fast.meta.config import InnerConfig, StepRule
from base_fast.meta.elbo import Elbo, elbo
from base_fast.meta.rules import Slots
from base_fast.meta.variables import Variables
from base_fast.random import fold_in
from base_fast.supernet import Supernet
from base_fast.tasks import Split


class InnerState(NamedTuple):
    """Where a task's inner loop stands."""

    q: Variables
    slots: tuple[Slots, Slots, Slots]
    step: int


@dataclass(frozen=True)
class InnerLoop:
    """One task's inner loop; `step` is a pure function of the state.

    Attributes:
        supernet, prior: with the task's head (`variables.for_task`).
        train: the task's training images; N is their number.
        key: of the task; batches, noise of θ and noise of z derive from it and the step's number.
        alpha_moves: False during the warm-up of the weights.
        step_sizes: None to use the configured ones, or (T, 3) for each step and group (mu, rho, alpha).
        differentiable: keep the graph of every step, for the unrolled outer step.
    """

    supernet: Supernet
    prior: Variables
    train: Split
    key: Tensor
    config: InnerConfig
    tau: float = 1.0
    noise: float = 0.0
    alpha_moves: bool = True
    step_sizes: Tensor | None = None
    differentiable: bool = False

    @property
    def rules(self) -> tuple[StepRule, StepRule, StepRule]:
        return (self.config.mu, self.config.rho, self.config.alpha)

    @property
    def moving(self) -> tuple[bool, bool, bool]:
        mu, rho, alpha = (rule.lr > 0.0 for rule in self.rules)
        return (mu, rho, alpha and self.alpha_moves)

    def start(self) -> InnerState:
        # Views, not the prior itself: the first step's gradient is with respect to q alone, though q = p there.
        q = Variables(*(x.view_as(x) for x in self.prior)) if self.differentiable else self.prior.detached()
        mu, rho, alpha = (rules.initial_slots(rule, x) for rule, x in zip(self.rules, q, strict=True))
        return InnerState(q, (mu, rho, alpha), 0)

    def loss(self, q: Variables, step: int) -> Elbo:
        """The negative ELBO of the batch of `step` at `q`."""
        x, y = self.train.batch(fold_in(self.key, 0), step, self.config.batch_size, self.config.augmentation)
        return elbo(
            self.supernet,
            q,
            self.prior,
            x.to(q.mu),
            y.to(q.mu.device),
            fold_in(fold_in(self.key, 1), step),
            self.config,
            tau=self.tau,
            noise=self.noise,
            dataset_size=len(self.train),
        )

    def step(self, state: InnerState) -> tuple[InnerState, Elbo, float]:
        """One gradient step; returns the new state, the loss before it, and the weights' gradient norm.

        Raises:
            Diverged: the loss or the gradient is NaN or infinite.
        """
        moving = self.moving
        q = state.q if self.differentiable else state.q.leaves(moving)
        terms = self.loss(q, state.step)
        active = [i for i in range(3) if moving[i] and q[i].requires_grad]
        # During the warm-up of frozen weights nothing moves, and there is nothing to differentiate.
        gradients = (
            torch.autograd.grad(terms.loss, [q[i] for i in active], create_graph=self.differentiable, allow_unused=True)
            if active
            else ()
        )
        found = {i: g for i, g in zip(active, gradients, strict=True) if g is not None}
        values, slots, norm = self._moved(q, found, state)
        if not (torch.isfinite(terms.loss) and norm < float("inf")):
            raise Diverged(
                f"inner step {state.step}: loss {terms.loss.item():g}, gradient norm {norm:g}; "
                "a smaller step size (inner.mu.lr) or stronger clipping (inner.clip) may help"
            )
        after = InnerState(Variables(*values), (slots[0], slots[1], slots[2]), state.step + 1)
        return (after if self.differentiable else _detached(after)), terms, norm

    def _moved(
        self, q: Variables, gradients: dict[int, Tensor], state: InnerState
    ) -> tuple[list[Tensor], list[Slots], float]:
        """Variables and slots after a step along some groups' gradients, and the norm of the weights' gradient."""
        values, slots = list(q), list(state.slots)
        weights: list[int] = [i for i in (0, 1) if i in gradients]
        if weights and self._plain(weights):
            sizes = [self.rules[i].lr for i in weights]
            own = [gradients[i] for i in weights]
            moved, length = ops.sgd_step([q[i].detach() for i in weights], own, sizes, self.config.clip)
            for i, x in zip(weights, moved, strict=True):
                values[i] = x
            norm = length.item()
            gradients = {i: g for i, g in gradients.items() if i not in weights}
        else:
            scale, norm = self._clip([gradients[i] for i in weights])
            gradients = {i: g * scale if i in weights else g for i, g in gradients.items()}
        for i, gradient in gradients.items():
            rule = self.rules[i]
            if rule.rule == "natural":
                gradient = rules.natural_gradient(i, q.rho, gradient)
            lr = rule.lr if self.step_sizes is None else self.step_sizes[state.step, i]
            values[i], slots[i] = rules.step(rule, lr, q[i], gradient, state.slots[i])
        return values, slots, norm

    def _plain(self, groups: list[int]) -> bool:
        """Whether these groups take plain gradient steps that nothing differentiates: one kernel does them all."""
        own = [self.rules[i] for i in groups]
        fixed = not self.differentiable and self.step_sizes is None
        return fixed and all(rule.rule == "sgd" and rule.momentum == 0.0 for rule in own)

    def _clip(self, gradients: list[Tensor]) -> tuple[Tensor | float, float]:
        """The factor that brings the weights' gradient to the largest norm allowed, and its norm."""
        if not gradients:
            return 1.0, 0.0
        norm = torch.linalg.vector_norm(torch.cat(gradients))
        value = norm.item()
        # The comparison is written so that NaN counts as too large, and is reported by the caller.
        if self.config.clip == 0.0 or value <= self.config.clip:
            return 1.0, value
        return self.config.clip / norm, value if value == value else float("inf")


def _detached(state: InnerState) -> InnerState:
    mu, rho, alpha = (tuple(x.detach() for x in slots) for slots in state.slots)
    return InnerState(state.q.detached(), (mu, rho, alpha), state.step)
