"""Σ_k w_k·x_k over the branches of an edge; the weight of branch k is `weights[positions[k]]`."""

from __future__ import annotations

import torch
from torch import Tensor


def mixed_sum(branches: list[Tensor], weights: Tensor, positions: list[int]) -> Tensor:
    """K branches of one shape, weights (L,) and K positions in them → a tensor like a branch."""
    total = branches[0] * weights[positions[0]]
    for branch, l in zip(branches[1:], positions[1:], strict=True):
        total = total + branch * weights[l]
    return total


def mixed_sum_backward(grad: Tensor, branches: list[Tensor], weights: Tensor, positions: list[int]) -> list[Tensor]:
    """The gradients for the branches, then for the weights; one that no position names has none."""
    d_branches = [grad * weights[l] for l in positions]
    products = torch.stack([(grad * branch).sum() for branch in branches])
    return [*d_branches, scattered(products, positions, weights)]


def scattered(values: Tensor, positions: list[int], weights: Tensor) -> Tensor:
    """One value per branch → one per weight, zero elsewhere."""
    index = torch.tensor(positions, device=weights.device)
    return torch.zeros_like(weights).index_add(0, index, values.to(weights.dtype))
