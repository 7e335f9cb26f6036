"""Σ_k w_k·BN(x_k): the branches of an edge, each after a batch norm with batch statistics and no affine parameters.

Statistics are taken per channel over (B, H, W), in float32 or wider; rstd = 1/√(variance + eps), the variance biased. A
branch that is not normalized (a skip connection) has mean 0 and rstd 1. The weight of branch k is
`weights[positions[k]]`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from base_fast.reference.mixed_sum import scattered

_PER_CHANNEL = (0, 2, 3)


def mixed_norm_sum(
    branches: list[Tensor], weights: Tensor, positions: list[int], normalized: list[bool], eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """y (B, C, H, W), mean (K, C), rstd (K, C)."""
    mean, rstd = statistics(branches, normalized, eps)
    y = torch.zeros_like(branches[0], dtype=mean.dtype)
    for k, l in enumerate(positions):
        y = y + weights[l] * _standardized(branches[k], mean[k], rstd[k])
    return y.to(branches[0].dtype), mean, rstd


def mixed_norm_sum_backward(
    grad: Tensor,
    branches: list[Tensor],
    weights: Tensor,
    positions: list[int],
    normalized: list[bool],
    mean: Tensor,
    rstd: Tensor,
) -> list[Tensor]:
    """The gradients for the branches, in grad's dtype, then for the weights."""
    g = grad.to(mean.dtype)
    d_branches, products = [], []
    for k, l in enumerate(positions):
        x = _standardized(branches[k], mean[k], rstd[k])
        d = g
        if normalized[k]:
            along = (g * x).mean(dim=_PER_CHANNEL, keepdim=True)
            d = (g - g.mean(dim=_PER_CHANNEL, keepdim=True) - x * along) * _channels(rstd[k])
        d_branches.append((weights[l] * d).to(grad.dtype))
        products.append((g * x).sum())
    return [*d_branches, scattered(torch.stack(products), positions, weights)]


def statistics(branches: list[Tensor], normalized: list[bool], eps: float) -> tuple[Tensor, Tensor]:
    """mean and rstd, (K, C) each."""
    wide = torch.promote_types(branches[0].dtype, torch.float32)
    means, rstds = [], []
    for branch, norm in zip(branches, normalized, strict=True):
        x = branch.to(wide)
        if norm:
            mean = x.mean(dim=_PER_CHANNEL)
            rstd = torch.rsqrt((x - _channels(mean)).square().mean(dim=_PER_CHANNEL) + eps)
        else:
            mean, rstd = x.new_zeros(x.shape[1]), x.new_ones(x.shape[1])
        means.append(mean)
        rstds.append(rstd)
    return torch.stack(means), torch.stack(rstds)


def _standardized(branch: Tensor, mean: Tensor, rstd: Tensor) -> Tensor:
    return (branch.to(mean.dtype) - _channels(mean)) * _channels(rstd)


def _channels(x: Tensor) -> Tensor:
    return x.view(1, -1, 1, 1)
