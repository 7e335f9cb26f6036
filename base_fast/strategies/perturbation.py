"""Perturbed architectures for the weights' steps, so that they are good around the architecture and not only at it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from base_fast.arguments import integer
from base_fast.errors import InputError
from base_fast.reference import philox


@dataclass(frozen=True)
class Perturbation:
    """SDARTS: the weights take their step at an architecture z + δ, |δ| ≤ ε in every entry.

    δ is drawn uniformly; then z climbs the training loss of the step's own batch, `steps` times by 2ε/`steps` in the
    direction of the gradient's signs, back into the ball each time. After every change z is clipped and scaled so that
    the primitives of each edge weigh as much together as before, which may leave the ball a little. An attack that ends
    at a smaller loss than that of z is dropped. Without steps this is SDARTS-RS, else SDARTS-ADV. The architecture's
    own steps see z as it is.

    Source: Chen & Hsieh, "Stabilizing Differentiable Architecture Search via Perturbation-based Regularization", ICML
    2020, and its code: ε grows linearly from 0.03 to 0.3, 7 steps.
    """

    radius: float = 0.03
    """ε at the start of the search, of weights that sum to one on an edge."""
    last_radius: float = 0.3
    """ε at its end."""
    steps: int = 7
    """Gradient steps of the attack; with none the perturbation is random."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", integer("steps", self.steps, 0))
        for name in ("radius", "last_radius"):
            if not 0.0 <= getattr(self, name) < math.inf:
                raise InputError(f"{name}: got {getattr(self, name)!r}, expected a finite number ≥ 0")

    def radius_at(self, progress: float) -> float:
        """ε after a share of the search in [0, 1]."""
        return self.radius + (self.last_radius - self.radius) * progress

    def perturbed(self, z: Tensor, loss: Callable[[Tensor], Tensor], key: Tensor, progress: float) -> Tensor:
        """Another architecture (T, E, L) near z, without a graph.

        Args:
            z: (T, E, L), no entry negative.
            loss: of an architecture, differentiable in it.
            key: of the draw.
            progress: the share of the search that is done, in [0, 1].
        """
        z, epsilon = z.detach(), self.radius_at(progress)
        noise = philox.uniform(key.cpu(), z.numel()).view(z.shape).to(z)
        moved = _clipped(z + epsilon * (2.0 * noise - 1.0), z)
        if self.steps == 0:
            return moved
        for _ in range(self.steps):
            leaf = moved.requires_grad_(True)
            (gradient,) = torch.autograd.grad(loss(leaf), leaf)
            climbed = moved.detach() + 2.0 * epsilon / self.steps * gradient.sign()
            moved = _clipped(z + (climbed - z).clamp(-epsilon, epsilon), z)
        with torch.no_grad():
            return z if bool(loss(z) > loss(moved)) else moved


def _clipped(moved: Tensor, z: Tensor) -> Tensor:
    """No entry negative, and on every edge the sum that z has there; an edge left with nothing gets its largest."""
    total = z.sum(dim=-1, keepdim=True)
    positive = torch.minimum(moved.clamp(min=0.0), total)
    left = positive.sum(dim=-1, keepdim=True)
    largest = torch.zeros_like(moved).scatter(-1, moved.argmax(dim=-1, keepdim=True), 1.0)
    positive = torch.where(left > 0.0, positive, largest)
    return positive * (total / torch.where(left > 0.0, left, torch.ones_like(left)))
