"""What one-shot searches share: how a supernet's weights are trained, a step at a time.

They differ in how the architecture of a step is drawn, on which batch what moves, and what regularizes; a one-shot
search says that, and takes the rest from here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from base_fast.arguments import whole_numbers
from base_fast.errors import Diverged, InputError
from base_fast.ops.autocast import Precision, check_precision
from base_fast.supernet import Supernet
from base_fast.tasks import Augmentation, Split


@dataclass(frozen=True)
class SharedTrainingConfig:
    """Stochastic gradient descent with momentum and a cosine schedule; the defaults are DARTS's for its search.

    Source: Liu et al., DARTS, ICLR 2019, `cnn/train_search.py`.
    """

    steps: int = 19_500
    """Steps of the weights."""
    batch_size: int = 64
    """Images a step."""
    lr: float = 0.025
    """Learning rate at the start of the cosine schedule."""
    lr_min: float = 0.001
    """Learning rate at its end."""
    momentum: float = 0.9
    """Heavy-ball momentum."""
    nesterov: bool = False
    """Whether a step looks ahead along its momentum (Nesterov)."""
    weight_decay: float = 3e-4
    """L2 penalty on all weights."""
    clip: float = 5.0
    """Largest norm of the gradient; 0 does not clip."""
    augmentation: Augmentation | None = None
    """Crop, flip and cutout of the training images."""
    precision: Precision = "float32"
    """Activations of these steps: bfloat16, or those of the supernet as it is; weights stay float32."""

    def __post_init__(self) -> None:
        whole_numbers(self)
        check_precision(self.precision)
        for name in ("steps", "batch_size"):
            if getattr(self, name) < 1:
                raise InputError(f"{name}: got {getattr(self, name)}, expected an integer ≥ 1")
        if not 0.0 <= self.lr_min <= self.lr < math.inf:
            raise InputError(f"lr, lr_min: got {self.lr}, {self.lr_min}, expected 0 ≤ lr_min ≤ lr")
        for name in ("momentum", "weight_decay", "clip"):
            if not 0.0 <= getattr(self, name) < math.inf:
                raise InputError(f"{name}: got {getattr(self, name)!r}, expected a finite number ≥ 0")

    def lr_at(self, step: int) -> float:
        """Learning rate of step 0 ≤ `step` < `steps`."""
        return self.lr_min + (self.lr - self.lr_min) * (1 + math.cos(math.pi * step / self.steps)) / 2

    def share(self, share: float) -> int:
        """The first steps that are a share of all of them, rounded down."""
        # A share that was written for a whole number of steps gives that number.
        return math.floor(share * self.steps + 1e-6)

    def response_at(self, step: int) -> float:
        """How far step `step` moves the weights against a unit of its gradient, where it is not clipped."""
        return self.lr_at(step) * (1.0 + self.momentum if self.nesterov else 1.0)


class WeightsStep(NamedTuple):
    """A step of the weights.

    theta, momentum: (P,), after it. loss, accuracy (a share): of its batch, before it. lr: its learning rate.
    z_gradient: (T, E, L), what the loss says of z, where z requires a gradient.
    """

    theta: Tensor
    momentum: Tensor
    loss: float
    accuracy: float
    lr: float
    z_gradient: Tensor | None

    @property
    def row(self) -> dict[str, float]:
        """What is logged of it."""
        return {"loss": self.loss, "train_accuracy": self.accuracy, "lr": self.lr}


@dataclass(frozen=True)
class SharedTraining:
    """Losses and steps of a supernet's weights; all methods are pure functions.

    Attributes:
        key: of the order and the augmentation of the training images.
    """

    supernet: Supernet
    train: Split
    config: SharedTrainingConfig
    key: Tensor

    def loss(self, theta: Tensor, z: Tensor, step: int, hard: bool = True) -> tuple[Tensor, float]:
        """Cross-entropy of training batch number `step` on architecture z (T, E, L), and the share classified right."""
        x, y = self.train.batch(self.key, step, self.config.batch_size, self.config.augmentation)
        logits = self.supernet.computing_in(self.config.precision)(x.to(theta), theta, z, hard)
        y = y.to(theta.device)
        return F.cross_entropy(logits, y), (logits.detach().argmax(dim=1) == y).double().mean().item()

    def step(self, theta: Tensor, momentum: Tensor, z: Tensor, step: int, hard: bool = True) -> WeightsStep:
        """Step number `step` of the weights: its batch on architecture z (T, E, L), the gradient, the move.

        Args:
            theta, momentum: (P,), before it; not changed.
            z: one that requires a gradient is given the loss's, without its own graph being entered.
            hard: z is one-hot; only the chosen primitives run.

        Raises:
            Diverged: the loss or the gradient is NaN or infinite.
        """
        theta, wanted = theta.detach().requires_grad_(True), z.requires_grad
        z = z.detach().requires_grad_(wanted)
        loss, accuracy = self.loss(theta, z, step, hard)
        if not torch.isfinite(loss):
            raise Diverged(f"loss is {loss.item()}; a smaller lr may help")
        gradient, *of_z = torch.autograd.grad(loss, (theta, z) if wanted else (theta,))
        moved, after = self.move(theta.detach(), momentum, gradient, step)
        return WeightsStep(moved, after, loss.item(), accuracy, self.config.lr_at(step), of_z[0] if wanted else None)

    def move(self, theta: Tensor, momentum: Tensor, gradient: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Weights and momentum after a step along a gradient, all (P,).

        Raises:
            Diverged: the gradient is NaN or infinite.
        """
        config = self.config
        norm = torch.linalg.vector_norm(gradient).item()
        if not math.isfinite(norm):
            raise Diverged(f"gradient norm is {norm}; a smaller lr or stronger clipping (clip) may help")
        if config.clip > 0.0 and norm > config.clip:
            gradient = gradient * (config.clip / norm)
        gradient = gradient + config.weight_decay * theta
        momentum = config.momentum * momentum + gradient
        along = gradient + config.momentum * momentum if config.nesterov else momentum
        return theta - config.lr_at(step) * along, momentum
