"""How a derived network is trained: the recipe's numbers and schedules."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from base_fast.arguments import whole_numbers
from base_fast.errors import InputError
from base_fast.ops.autocast import Precision, check_precision
from base_fast.runs import changeable
from base_fast.tasks import Augmentation


@dataclass(frozen=True)
class TrainConfig:
    """Stochastic gradient descent with momentum and a cosine schedule; the defaults are DARTS's for CIFAR-10.

    Source: Liu et al., DARTS, ICLR 2019, `cnn/train.py` (there the schedules move once per epoch, here at every step).
    """

    epochs: int = 600
    """Passes over the training images; ignored when steps is given."""
    steps: int | None = None
    """Optimizer steps instead of epochs."""
    batch_size: int = 96
    """Images per step; all of them when the task has fewer."""
    microbatches: int = 1
    """Equal parts of a batch, each with its own batch norm; a step takes their mean gradient, and several processes can
    share them with the same bits."""
    lr: float = 0.025
    """Learning rate at the start of the cosine schedule."""
    lr_min: float = 0.0
    """Learning rate at its end."""
    warmup_steps: int = 0
    """Steps over which the learning rate first rises linearly to lr."""
    momentum: float = 0.9
    """Momentum of the optimizer, without Nesterov's correction."""
    weight_decay: float = 3e-4
    """L2 penalty on all parameters."""
    gradient_clip: float = 5.0
    """Largest L2 norm of the gradient over all parameters; 0 does not clip."""
    label_smoothing: float = 0.0
    """Probability mass of the target that is spread over all classes."""
    auxiliary_weight: float = 0.4
    """Weight of the auxiliary head's loss, for networks that have one."""
    drop_path: float = 0.2
    """Probability of drop path at the end of training, reached linearly from 0; overrides the network's own."""
    augmentation: Literal["none", "standard", "cutout"] = "cutout"
    """standard: crop after padding by 1/8 of the side, mirror; cutout: also a square of half the side."""
    precision: Precision = "float32"
    """Activations of training steps: float32, or bfloat16 for half their memory; weights, loss and scores stay
    float32."""
    evaluate_every: int = 0
    """Steps between evaluations on the validation images; 0 is once per epoch. The last step is always evaluated."""
    checkpoint_every: int = changeable(0)
    """Steps between checkpoints in the run folder; 0 is once per epoch."""
    log_every: int = changeable(10)
    """Steps between rows of loss and learning rate."""
    seed: int = 0
    """Decides on the order of images, augmentation and drop path."""

    def __post_init__(self) -> None:
        whole_numbers(self)
        check_precision(self.precision)
        for name in ("epochs", "batch_size", "log_every"):
            self._at_least(name, 1)
        if self.steps is not None:
            self._at_least("steps", 1)
        if self.microbatches < 1 or self.batch_size % self.microbatches:
            raise InputError(
                f"microbatches: got {self.microbatches}, expected a divisor of batch_size {self.batch_size}"
            )
        for name in ("lr_min", "warmup_steps", "weight_decay", "gradient_clip", "auxiliary_weight"):
            self._at_least(name, 0)
        for name in ("evaluate_every", "checkpoint_every"):
            self._at_least(name, 0)
        for name in ("momentum", "label_smoothing", "drop_path"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise InputError(f"{name}: got {getattr(self, name)}, expected a number from 0 to below 1")
        if not self.lr_min <= self.lr < math.inf or self.lr <= 0:
            raise InputError(f"lr: got {self.lr}, expected a positive number, at least lr_min = {self.lr_min}")
        if self.augmentation not in ("none", "standard", "cutout"):
            raise InputError(f"augmentation: got {self.augmentation!r}, expected none, standard or cutout")

    def _at_least(self, name: str, least: int) -> None:
        value = getattr(self, name)
        if not least <= value < math.inf:
            raise InputError(f"{name}: got {value}, expected at least {least}")

    def steps_per_epoch(self, examples: int) -> int:
        """Full batches in `examples` images, at least one."""
        return max(1, examples // self.batch_size)

    def total_steps(self, examples: int) -> int:
        """Optimizer steps of the whole training on `examples` images."""
        return self.steps if self.steps is not None else self.epochs * self.steps_per_epoch(examples)

    def lr_at(self, step: int, total: int) -> float:
        """Learning rate of step 0 ≤ `step` < `total`."""
        if step < self.warmup_steps:
            return self.lr * (step + 1) / self.warmup_steps
        done = (step - self.warmup_steps) / max(1, total - self.warmup_steps)
        return self.lr_min + (self.lr - self.lr_min) * (1 + math.cos(math.pi * done)) / 2

    def drop_path_at(self, step: int, total: int) -> float:
        """Probability of drop path at step 0 ≤ `step` < `total`."""
        return self.drop_path * step / total

    def augmentation_for(self, resolution: int) -> Augmentation | None:
        """What `augmentation` means for images of this many pixels a side."""
        if self.augmentation == "none":
            return None
        cutout = resolution // 2 if self.augmentation == "cutout" else 0
        return Augmentation(crop_padding=resolution // 8, flip=True, cutout=cutout)
