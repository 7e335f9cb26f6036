"""Σ_l w_l·x_l over the branches of an edge."""

from __future__ import annotations

from torch import Tensor


def mixed_sum(branches: list[Tensor], weights: Tensor) -> Tensor:
    total = branches[0] * weights[0]
    for l, branch in enumerate(branches[1:], start=1):
        total = total + branch * weights[l]
    return total
