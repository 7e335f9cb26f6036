"""Optimizer steps as pure functions, so that the unrolled outer step can differentiate through them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import softplus

from base_fast.meta.config import StepRule
from base_fast.meta.variables import Group

Slots = tuple[Tensor, ...]

ADAM_EPS = 1e-8


def initial_slots(rule: StepRule, x: Tensor) -> Slots:
    """The optimizer's memory before the first step: Adam's two moments and its number of steps (a group that starts
    later than others has its own), or one momentum buffer, or nothing."""
    if rule.rule == "adam":
        return (torch.zeros_like(x), torch.zeros_like(x), torch.zeros((), dtype=torch.float64, device="cpu"))
    return (torch.zeros_like(x),) if rule.momentum > 0.0 else ()


def natural_gradient(group: Group, rho: Tensor, gradient: Tensor) -> Tensor:
    """F⁻¹g for one group of a diagonal Gaussian: σ²·g for μ; σ²/(2·softplus'(ρ)²)·g for ρ."""
    variance = softplus(rho).square()
    return variance * gradient if group == "mu" else variance / (2.0 * torch.sigmoid(rho).square()) * gradient


def step(rule: StepRule, lr: Tensor | float, x: Tensor, gradient: Tensor, slots: Slots) -> tuple[Tensor, Slots]:
    """x after one step along `gradient`, and the new slots."""
    if rule.rule == "adam":
        first = rule.beta1 * slots[0] + (1.0 - rule.beta1) * gradient
        second = rule.beta2 * slots[1] + (1.0 - rule.beta2) * gradient.square()
        count = slots[2] + 1.0
        mean = first / (1.0 - rule.beta1 ** count.item())
        square = second / (1.0 - rule.beta2 ** count.item())
        # ε inside the root: its derivative stays finite where a gradient is exactly zero.
        return x - lr * mean / torch.sqrt(square + ADAM_EPS**2), (first, second, count)
    if rule.momentum > 0.0:
        # Off a single path the gradient is exactly zero: no step, and no decay of what the path will need again.
        on = gradient != 0
        moved = rule.momentum * slots[0] + gradient
        slots = (torch.where(on, moved, slots[0]),)
        gradient = torch.where(on, moved, 0.0)
    return x - lr * gradient, slots
