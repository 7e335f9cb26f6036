"""DARTS: a mixture of all primitives on every edge, whose weights follow the validation loss."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from base_fast.strategies.one_shot import BatchGradient, GradientStrategy, Point, Tensors

SMALL_STEP = 0.01


@dataclass(frozen=True)
class Darts(GradientStrategy):
    """Settings of DARTS, first order: z = softmax(α); α takes a step of Adam on the validation loss at the weights as
    they are, then the weights one on the training loss.

    Source: Liu, Simonyan, Yang, "DARTS: Differentiable Architecture Search", ICLR 2019, and `cnn/train_search.py`:
    50 epochs of 25,000 images.
    """

    def z(self, variables: Tensors, key: Tensor, progress: float) -> Tensor:
        return torch.softmax(variables[0], dim=-1)


@dataclass(frozen=True)
class DartsSecondOrder(Darts):
    """Settings of DARTS, second order: α follows the validation loss at the weights after one more training step.

    A step has five forward and backward passes, that of first order two: see `second_order`.

    Source: as `Darts`, with `--unrolled`.
    """

    def batch_gradient(self, at: Point) -> BatchGradient:
        return second_order(at)


def second_order(at: Point) -> BatchGradient:
    """The gradient of the validation loss with respect to z, at the weights after one training step on z.

    With w' = w − ξ·(∇_w L_train(w, z) + decay·w + momentum·buffer), not clipped, and v = ∇_w' L_valid(w', z),

        d/dz L_valid(w', z) = ∇_z L_valid(w', z) − ξ·∇²_zw L_train(w, z)·v

    The product is the central difference [∇_z L_train(w + εv, z) − ∇_z L_train(w − εv, z)] / 2ε, ε = 0.01/‖v‖.

    Source: Liu et al. 2019, Eq. 7 and 8.
    """
    training, number = at.training, at.number
    z = at.z.detach().requires_grad_(True)

    def train_gradient(theta: Tensor, of: Tensor) -> Tensor:
        loss, _ = training.loss(theta, z, number, at.hard)
        return torch.autograd.grad(loss, of)[0]

    theta = at.theta.detach().requires_grad_(True)
    free = replace(training, config=replace(training.config, clip=0.0))
    ahead, _ = free.move(at.theta.detach(), at.momentum, train_gradient(theta, theta), number)
    ahead.requires_grad_(True)
    loss, accuracy = at.valid.loss(ahead, z, number, at.hard)
    direct, v = torch.autograd.grad(loss, (z, ahead))
    norm = torch.linalg.vector_norm(v).item()
    if norm > 0.0:
        small = SMALL_STEP / norm
        difference = train_gradient(at.theta + small * v, z) - train_gradient(at.theta - small * v, z)
        direct = direct - training.config.response_at(number) * difference / (2.0 * small)
    return BatchGradient(direct, loss.item(), accuracy)
