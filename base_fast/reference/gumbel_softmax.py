"""z = softmax((φ + s·ξ)/τ), ξ ~ Gumbel(0, 1) (Maddison et al. 2017; Jang et al. 2017).

bfloat16 logits are computed with in float32, as ξ is, and rounded once.
"""

from __future__ import annotations

import torch
from torch import Tensor

from base_fast.reference import philox


def gumbel_softmax(logits: Tensor, key: Tensor, tau: float, hard: bool, noise: float) -> Tensor:
    """φ (..., L), a key (2,), τ, whether z is one-hot, s → z (..., L)."""
    z = torch.softmax((logits + noise * _xi(logits, key)) / tau, dim=-1).to(logits.dtype)
    if not hard:
        return z
    one_hot = torch.zeros_like(z).scatter(-1, z.argmax(dim=-1, keepdim=True), 1.0)
    # The value is exactly one-hot, the gradient is that of z (straight through).
    return one_hot + (z - z.detach())


def gumbel_softmax_backward(grad: Tensor, z: Tensor, tau: float) -> Tensor:
    """The gradient for the logits (..., L); of a hard sample, z is the soft one."""
    return (grad - (grad * z).sum(dim=-1, keepdim=True)) * z / tau


def _xi(logits: Tensor, key: Tensor) -> Tensor:
    wide = torch.promote_types(logits.dtype, torch.float32)
    return philox.gumbel(key, logits.numel()).view(logits.shape).to(wide)
