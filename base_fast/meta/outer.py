"""The outer step: how a task's adaptation becomes a gradient on the prior, and how that moves it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from base_fast.errors import Interrupted
from base_fast.meta import rules
from base_fast.meta.architecture import moved_prior
from base_fast.meta.config import OuterConfig, StepRule
from base_fast.meta.elbo import Elbo
from base_fast.meta.inner import Drawn, InnerLoop, InnerState
from base_fast.meta.rules import Slots
from base_fast.meta.variables import Group, Variables
from base_fast.runs import to_be_left


class TaskRecord(NamedTuple):
    """What a task leaves besides its gradient: its inner loop's record.

    phi: (T, E, L) logits of the task's q(z), where cells were drawn: the prior moves towards it in probabilities, and
    the gradient of alpha is zero. drawn: the last draw. warm: all of the evidence counted.
    """

    first: Elbo
    last: Elbo
    gradient_norm: float
    phi: Tensor | None
    drawn: Drawn | None
    warm: bool


class TaskGradient(NamedTuple):
    """A task's (pseudo-)gradient on the prior, on the inner step sizes' logarithms, and the rest."""

    prior: Variables
    log_step_sizes: Variables | None
    record: TaskRecord

    def flat(self) -> Tensor:
        """The gradients in one vector, for a mean over tasks."""
        return torch.cat([x.flatten() for x in (*self.prior, *(self.log_step_sizes or ()))])


def task_gradient(
    rule: str, loop: InnerLoop, prior: Variables, steps: int, log_step_sizes: Variables | None = None
) -> TaskGradient:
    """Run one task's inner loop and differentiate it by the outer rule.

    reptile: W − ψᵀ, so that a step of size λ gives W + λ(ψᵀ − W) (Algorithm 1). first_order: the gradient of the loss
    of a fresh batch at ψᵀ, with dψᵀ/dW taken as the identity. unrolled: that gradient exactly, through all T steps.
    The last two include the loss's direct dependence on W through the prior terms.

    Args:
        loop: of this task; its prior must have been made from `prior` by `for_task`, differentiably for unrolled.
        prior: W: leaves that require gradients if the rule is unrolled.
        steps: T.
        log_step_sizes: leaves, (T,) for each group, or None.
    """
    state, first, terms, norm, drawn = run(loop, steps)
    sizes: Variables | None = None
    found: list[Tensor | None]
    if rule == "reptile":
        found = [start - end for start, end in zip(loop.prior, state.q, strict=True)]
    elif rule == "first_order":
        adapted, direct = state.q.leaves(), loop.prior.leaves()
        terms = replace(loop, prior=direct).loss(adapted, steps)
        at = torch.autograd.grad(terms.loss, [*adapted, *direct], allow_unused=True)
        found = [_sum(a, b) for a, b in zip(at[: len(adapted)], at[len(adapted) :], strict=True)]
    else:
        terms = loop.loss(state.q, steps)
        logs = log_step_sizes or ()
        at = torch.autograd.grad(terms.loss, [*prior, *logs], allow_unused=True)
        found = list(at[: len(prior)])
        if log_step_sizes is not None:
            own = zip(at[len(prior) :], log_step_sizes, strict=True)
            sizes = Variables(*(torch.zeros_like(x) if g is None else g for g, x in own))
    body = None if loop.config.head == "kept" else loop.supernet.head.start
    gradients = {
        name: _onto_prior(g, x, body) if name in loop.descending else torch.zeros_like(x)
        for g, (name, x) in zip(found, prior.named().items(), strict=True)
    }
    last = _told(terms)
    phi = state.q.alpha.detach().cpu() if drawn is not None else None
    record = TaskRecord(first, last, norm, phi, drawn, loop.alpha_moves)
    return TaskGradient(Variables(**gradients).detached(), sizes, record)


def run(loop: InnerLoop, steps: int) -> tuple[InnerState, Elbo, Elbo, float, Drawn | None]:
    """T inner steps: the state after them, the terms of the first and of the last, the last gradient norm and draw.

    Raises Interrupted between two steps where there is no time for the others, or where they are of no use any more.
    """
    state, drawn, first = loop.start(), None, None
    for number in range(1, steps + 1):
        if to_be_left():
            raise Interrupted(f"stopped in inner step {number} of {steps}")
        state, terms, norm = loop.step(state)
        first = first or _told(terms)
        if loop.draws_now(state, last=number == steps):
            state, drawn = loop.draw(state)
    assert first is not None
    return state, first, terms, norm, drawn


def _told(terms: Elbo) -> Elbo:
    """Terms without their graph, where any process can read them."""
    return Elbo(*(x.detach().cpu() for x in terms))


def _sum(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    return a if b is None else b if a is None else a + b


def _onto_prior(gradient: Tensor | None, prior: Tensor, body: int | None) -> Tensor:
    """A gradient on the task's start as one on the prior: beyond `body` lies a head that is not part of the prior."""
    if gradient is None:
        return torch.zeros_like(prior)
    if prior.dim() > 1 or body is None:
        return gradient
    return torch.cat((gradient[:body], gradient.new_zeros(prior.numel() - body)))


class Agreement(NamedTuple):
    """Sum, over tasks, of the correlation of the prior with the task's evidence, and how many tasks there were."""

    total: float = 0.0
    tasks: int = 0

    @property
    def usual(self) -> float | None:
        """The mean; None before the first task."""
        return self.total / self.tasks if self.tasks else None


class OuterState(NamedTuple):
    """The prior, its optimizer's memory, the learned logarithms of the inner step sizes (T,), if any, and how well the
    prior agreed with the tasks' evidence before it moved towards them."""

    prior: Variables
    slots: Mapping[Group, Slots]
    log_step_sizes: Variables | None
    step_size_slots: Mapping[Group, Slots]
    step: int
    agreement: Agreement

    @classmethod
    def start(cls, prior: Variables, config: OuterConfig, inner: Mapping[Group, StepRule], steps: int) -> OuterState:
        """Before the first meta-iteration; learnable step sizes begin at the configured ones."""
        slots = {g: rules.initial_slots(_prior_rule(config), x) for g, x in prior.named().items()}
        if config.step_size_lr == 0.0:
            return cls(prior, slots, None, {}, 0, Agreement())
        # A frozen group has lr 0: its logarithm is never used, and must only be finite.
        logs = Variables(**{g: prior.mu.new_full((steps,), math.log(rule.lr or 1.0)) for g, rule in inner.items()})
        size_slots = {g: rules.initial_slots(_size_rule(config), x) for g, x in logs.named().items()}
        return cls(prior, slots, logs, size_slots, 0, Agreement())

    def after(self, mean: Tensor, records: Sequence[TaskRecord], config: OuterConfig) -> OuterState:
        """One outer step along the tasks' mean gradient, as `TaskGradient.flat` has it, and towards their q(z)."""
        values, slots = self.prior.detached().named(), dict(self.slots)
        gradients, size_gradients = self._parts(mean)
        for g, gradient in gradients.named().items():
            # A group that is frozen so far takes no step, which Adam would count.
            if gradient.count_nonzero():
                values[g], slots[g] = rules.step(_prior_rule(config), config.lr, values[g], gradient, slots[g])
        found = [own.phi.to(mean.device) for own in records if own.phi is not None]
        if found:
            values["alpha"] = moved_prior(values["alpha"], found, config.z_rate, config.z_floor)
        logs, size_slots = self.log_step_sizes, dict(self.step_size_slots)
        if logs is not None and size_gradients is not None:
            sizes, rule = logs.detached().named(), _size_rule(config)
            for g, gradient in size_gradients.named().items():
                sizes[g], size_slots[g] = rules.step(rule, config.step_size_lr, sizes[g], gradient, size_slots[g])
            logs = Variables(**sizes)
        agreed = [own.drawn.agreement for own in records if own.drawn is not None and own.warm]
        seen = Agreement(self.agreement.total + sum(agreed), self.agreement.tasks + len(agreed))
        return OuterState(Variables(**values), slots, logs, size_slots, self.step + 1, seen)

    def _parts(self, flat: Tensor) -> tuple[Variables, Variables | None]:
        """The inverse of `TaskGradient.flat`."""
        like = [*self.prior, *(self.log_step_sizes or ())]
        parts = [x.view_as(own) for x, own in zip(flat.split([x.numel() for x in like]), like, strict=True)]
        return Variables(*parts[:3]), Variables(*parts[3:]) if self.log_step_sizes is not None else None


def _prior_rule(config: OuterConfig) -> StepRule:
    return StepRule(config.optimizer, config.lr)


def _size_rule(config: OuterConfig) -> StepRule:
    return StepRule("adam", config.step_size_lr)
