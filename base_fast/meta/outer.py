"""The outer step: how a task's adaptation becomes a gradient on the prior, and how that moves it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from base_fast.meta import rules
from base_fast.meta.config import OuterConfig, StepRule
from base_fast.meta.elbo import Elbo
from base_fast.meta.inner import InnerLoop, InnerState
from base_fast.meta.variables import Variables


class TaskGradient(NamedTuple):
    """A task's (pseudo-)gradient on the prior, on the inner step sizes' logarithms, and its inner loop's record."""

    prior: Variables
    log_step_sizes: Tensor | None
    first: Elbo
    last: Elbo
    gradient_norm: float


def task_gradient(
    rule: str, loop: InnerLoop, prior: Variables, steps: int, log_step_sizes: Tensor | None = None
) -> TaskGradient:
    """Run one task's inner loop and differentiate it by the outer rule.

    reptile: W − ψᵀ, so that a step of size λ gives W + λ(ψᵀ − W) (Algorithm 1). first_order: the gradient of the loss
    of a fresh batch at ψᵀ, with dψᵀ/dW taken as the identity. unrolled: that gradient exactly, through all T steps.
    The last two include the loss's direct dependence on W through the prior terms.

    Args:
        loop: of this task; its prior must have been made from `prior` by `for_task`, differentiably for unrolled.
        prior: W: leaves that require gradients if the rule is unrolled.
        steps: T.
        log_step_sizes: (T, 3) leaf, or None.
    """
    state, first, terms, norm = run(loop, steps)
    sizes: Tensor | None = None
    found: list[Tensor | None]
    if rule == "reptile":
        found = [start - end for start, end in zip(loop.prior, state.q, strict=True)]
    elif rule == "first_order":
        adapted, direct = state.q.leaves(), loop.prior.leaves()
        terms = replace(loop, prior=direct).loss(adapted, steps)
        at = torch.autograd.grad(terms.loss, [*adapted, *direct], allow_unused=True)
        found = [_sum(at[i], at[i + 3]) for i in range(3)]
    else:
        terms = loop.loss(state.q, steps)
        inputs = [*prior] if log_step_sizes is None else [*prior, log_step_sizes]
        *found, sizes = [*torch.autograd.grad(terms.loss, inputs, allow_unused=True), None][:4]
    body = None if loop.config.head == "kept" else loop.supernet.head.start
    gradients = [
        _onto_prior(g, x, body) if moves else torch.zeros_like(x)
        for g, x, moves in zip(found, prior, loop.moving, strict=True)
    ]
    return TaskGradient(Variables(*gradients).detached(), sizes, first, Elbo(*(x.detach() for x in terms)), norm)


def run(loop: InnerLoop, steps: int) -> tuple[InnerState, Elbo, Elbo, float]:
    """T inner steps: the state after them, the terms of the first and of the last, and the last gradient norm."""
    state, terms, norm = loop.step(loop.start())
    first = Elbo(*(x.detach() for x in terms))
    for _ in range(1, steps):
        state, terms, norm = loop.step(state)
    return state, first, terms, norm


def _sum(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    return a if b is None else b if a is None else a + b


def _onto_prior(gradient: Tensor | None, prior: Tensor, body: int | None) -> Tensor:
    """A gradient on the task's start as one on the prior: beyond `body` lies a head that is not part of the prior."""
    if gradient is None:
        return torch.zeros_like(prior)
    if prior.dim() > 1 or body is None:
        return gradient
    return torch.cat((gradient[:body], gradient.new_zeros(prior.numel() - body)))


class OuterState(NamedTuple):
    """The prior, its optimizer's memory, and the learned logarithms of the inner step sizes (T, 3), if any."""

    prior: Variables
    slots: tuple[rules.Slots, ...]
    log_step_sizes: Tensor | None
    step_size_slots: rules.Slots
    step: int

    @classmethod
    def start(cls, prior: Variables, config: OuterConfig, inner: tuple[StepRule, ...], steps: int) -> OuterState:
        """Before the first meta-iteration; learnable step sizes begin at the configured ones."""
        slots = tuple(rules.initial_slots(_prior_rule(config), x) for x in prior)
        if config.step_size_lr == 0.0:
            return cls(prior, slots, None, (), 0)
        # A frozen group has lr 0: its logarithm is never used, and must only be finite.
        logs = torch.tensor([[math.log(rule.lr or 1.0) for rule in inner]] * steps).to(prior.mu)
        return cls(prior, slots, logs, rules.initial_slots(_size_rule(config), logs), 0)

    def after(self, gradients: list[TaskGradient], config: OuterConfig) -> OuterState:
        """One outer step along the tasks' mean gradient."""
        values, slots = [], []
        rule = _prior_rule(config)
        for i, x in enumerate(self.prior):
            mean = torch.stack([g.prior[i] for g in gradients]).mean(dim=0)
            # A group that is frozen so far takes no step, which Adam would count.
            value, slot = x.detach(), self.slots[i]
            if mean.count_nonzero():
                value, slot = rules.step(rule, config.lr, value, mean, slot)
            values.append(value)
            slots.append(slot)
        logs, size_slots = self.log_step_sizes, self.step_size_slots
        if logs is not None:
            own = [g.log_step_sizes for g in gradients if g.log_step_sizes is not None]
            mean = torch.stack(own).mean(dim=0)
            logs, size_slots = rules.step(_size_rule(config), config.step_size_lr, logs.detach(), mean, size_slots)
        return OuterState(Variables(*values), tuple(slots), logs, size_slots, self.step + 1)


def _prior_rule(config: OuterConfig) -> StepRule:
    return StepRule(config.optimizer, config.lr)


def _size_rule(config: OuterConfig) -> StepRule:
    return StepRule("adam", config.step_size_lr)
