"""DARTS: a mixture of all primitives on every edge, whose weights follow the validation loss."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from base_fast.strategies.one_shot import GradientStrategy, Tensors


@dataclass(frozen=True)
class Darts(GradientStrategy):
    """Settings of DARTS, first order: z = softmax(α); α takes a step of Adam on the validation loss at the weights as
    they are, then the weights one on the training loss.

    Source: Liu, Simonyan, Yang, "DARTS: Differentiable Architecture Search", ICLR 2019, and `cnn/train_search.py`:
    50 epochs of 25,000 images.
    """

    def z(self, variables: Tensors, key: Tensor, progress: float) -> Tensor:
        return torch.softmax(variables[0], dim=-1)
