"""The set-up that the benchmarks of an edge's weighted sum share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

SIZES = MappingProxyType({"l": 8, "batch": 64, "channels": 16, "height": 32})
QUICK = MappingProxyType({"l": 3, "batch": 4, "channels": 4, "height": 6})


@dataclass(frozen=True)
class Branches:
    """L branches and the sum's gradient, (B, C, H, W) each; weights (L,)."""

    branches: list[Tensor]
    weights: Tensor
    grad: Tensor

    @classmethod
    def of(cls, l: int, batch: int, channels: int, height: int, layout: torch.memory_format) -> Branches:
        def tensor() -> Tensor:
            return torch.randn(batch, channels, height, height).contiguous(memory_format=layout)

        branches = [(tensor() + 0.1 * i).requires_grad_() for i in range(l)]
        return cls(branches, torch.softmax(torch.randn(l), 0).requires_grad_(), tensor())

    @property
    def leaves(self) -> Mapping[str, Tensor]:
        return {**{f"branch {i}": x for i, x in enumerate(self.branches)}, "weights": self.weights}

    def double(self) -> Branches:
        branches = [x.detach().double().requires_grad_() for x in self.branches]
        return Branches(branches, self.weights.detach().double().requires_grad_(), self.grad.double())

    @property
    def moved(self) -> int:
        """Bytes that forward and backward read and write when they touch every tensor once.

        Forward: branches read, sum written. Backward: its gradient and the branches read, their gradients written.
        """
        return (3 * len(self.branches) + 2) * self.grad.nbytes


LAYOUTS = MappingProxyType({"contiguous": torch.contiguous_format, "channels last": torch.channels_last})
